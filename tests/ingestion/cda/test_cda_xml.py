"""Reading the XML of documents: safely, and what senders really send."""

from __future__ import annotations

import pytest

from cda_documents import CONVERTER, document
from hdg.errors import CdaError
from hdg.ingestion.cda import parsing, utf8
from hdg.ingestion.cda.parsing import MAX_DEPTH
from hdg.ingestion.cda.prefixes import prefixes_of
from hdg.ingestion.cda.xml import HL7, local
from hdg.ingestion.cda.xml import read as read_tree


def read(data, issues):
    """The root element."""
    return read_tree(data, issues).root


DOCUMENT = '<ClinicalDocument xmlns="urn:hl7-org:v3"><title>Grüße</title></ClinicalDocument>'


@pytest.mark.parametrize(
    "data",
    [
        DOCUMENT.encode(),
        b"\xef\xbb\xbf" + DOCUMENT.encode(),
        b'\n <?xml version="1.0" encoding="UTF-8"?>\n' + DOCUMENT.encode(),
        ('<?xml version="1.0" encoding="UTF-16"?>' + DOCUMENT).encode("utf-16"),
        ('<?xml version="1.0" encoding="ISO-8859-1"?>' + DOCUMENT).encode("latin-1"),
        ('<?xml version="1.0" encoding="UTF-8"?>' + DOCUMENT).encode("windows-1252"),
        ('<?xml version="1.0" encoding="UTF-16"?>' + DOCUMENT).encode(),
        ('<?xml version="1.0"?><!-- a note --><?style x?>' + DOCUMENT).encode(),
    ],
)
def test_a_document_is_read_in_any_encoding(data):
    root = read(data, [])
    assert local(root) == "ClinicalDocument"
    assert root.find(f"{HL7}title").text == "Grüße"


def test_bytes_of_another_encoding_than_the_declared_one_are_said():
    issues = []
    read(('<?xml version="1.0" encoding="UTF-8"?>' + DOCUMENT).encode("windows-1252"), issues)
    assert [issue.severity for issue in issues] == ["warning"]


@pytest.mark.parametrize(
    "codec",
    [
        "punycode",
        "idna",
        "unicode_escape",
        "Unicode--Escape_",
        "raw_unicode_escape",
        "undefined",
        "charmap",
        "hex",
    ],
)
def test_what_is_no_charset_decodes_nothing(codec):
    issues = []
    document = DOCUMENT.replace("Grüße", r"Grüße C:\new")
    root = read(f'<?xml version="1.0" encoding="{codec}"?>{document}'.encode(), issues)
    assert root.find(f"{HL7}title").text == r"Grüße C:\new"
    assert [issue.severity for issue in issues] == ["warning"]


@pytest.mark.parametrize(
    "prolog",
    [
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<?xml version="1.0"?>\n<!-- c --><!DOCTYPE a SYSTEM "http://127.0.0.1/x.dtd">',
        "<!DOCTYPE lolz [<!ENTITY l 'lol'><!ENTITY m '&l;&l;&l;&l;'>]>",
    ],
)
def test_a_document_type_definition_is_refused(prolog):
    with pytest.raises(CdaError, match="document type definition"):
        read((prolog + DOCUMENT.replace("Grüße", "&x;")).encode(), [])
    with pytest.raises(CdaError, match="document type definition"):
        read((prolog + DOCUMENT).encode("utf-16"), [])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"   ",
        b"<a",
        b"<a></b>",
        b"<a>&x;</a>",
        b"\xff\xfe\x00",
        b"<?xml version='1.0'?>",
        ("<a>" * (MAX_DEPTH + 1) + "</a>" * (MAX_DEPTH + 1)).encode(),
        ("<a " + " ".join(f"b{n}='1'" for n in range(200)) + "/>").encode(),
    ],
)
def test_what_is_no_document_is_an_error_without_its_content(data):
    with pytest.raises(CdaError):
        read(data, [])


def test_a_missing_namespace_and_undeclared_prefixes_are_mended_and_said():
    issues = []
    root = read(b"<section><text xsi:type='x'/><sdtc:raceCode code='1'/></section>", issues)
    assert root.tag == f"{HL7}section"
    assert root.inner[1].tag == "{urn:hl7-org:sdtc}raceCode"
    assert len(issues) == 2


def test_a_word_before_a_colon_is_no_prefix():
    issues = []
    root = read(DOCUMENT.replace("Grüße", "advoc: see cda:x").encode(), issues)
    assert root.find(f"{HL7}title").text == "advoc: see cda:x"
    assert issues == []


def test_an_unknown_prefix_is_no_xml():
    with pytest.raises(CdaError, match="well-formed"):
        read(DOCUMENT.replace("Grüße", "<foo:a/>").encode(), [])


@pytest.mark.parametrize(
    ("text", "said"),
    [("true", "true"), ("1", "true"), (" TRUE ", "true"), ("0", "false"), ("", "false"), ("maybe", "maybe")],
)
@pytest.mark.parametrize("name", ["negationInd", "sdtc:negationInd", "actionNegationInd"])
def test_a_truth_has_one_word_however_it_is_written(name, text, said):
    data = f'<a xmlns="urn:hl7-org:v3" xmlns:sdtc="urn:hl7-org:sdtc"><b negationInd="false"/><b {name}="{text}"/></a>'
    root = read(data.encode(), [])
    assert [one.attributes for one in root] == [{"negationInd": "false"}, {"negationInd": said}]


@pytest.mark.parametrize(
    ("attributes", "kept", "count"),
    [
        ('nullFlavor="UNK"', {"nullFlavor": "UNK"}, 0),
        ('nullFlavor="UNK" value="1"', {"nullFlavor": "UNK"}, 1),
        ('code="1" nullFlavor="NI" codeSystem="2.999"', {"nullFlavor": "NI", "codeSystem": "2.999"}, 1),
        ('nullFlavor="OTH" code="1"', {"nullFlavor": "OTH", "code": "1"}, 0),
        ('nullFlavor=" "', {}, 0),
        ('nullFlavor="" value="1"', {"value": "1"}, 0),
    ],
)
@pytest.mark.parametrize("before", ["", '<b nullFlavor="NI"/>', '<b nullFlavor="NI" value="2"/>'])
def test_what_stands_beside_a_null_flavor_goes_wherever_it_stands(before, attributes, kept, count):
    issues = []
    root = read(f'<a xmlns="urn:hl7-org:v3">{before}<b {attributes}/></a>'.encode(), issues)
    assert root.inner[-1].attributes == kept
    assert len(issues) == count + ("value" in before)


@pytest.mark.parametrize(
    ("declared", "inner", "prefixes"),
    [
        ('xmlns="u"', "", {"u": ""}),
        ('xmlns="u" xmlns:v="u"', "", {"u": ""}),
        ('xmlns="u" xmlns:v="u"', "<v:b/>", None),
        ('xmlns="u" xmlns:v="w"', "<v:b/>", {"u": "", "w": "v"}),
        ('xmlns="u" xmlns:v="w" xmlns:x="w"', "<v:b/>", {"u": "", "w": "v"}),
    ],
)
def test_prefixes_are_sure_where_each_namespace_is_written_in_one_way(declared, inner, prefixes):
    assert prefixes_of(f"<a {declared}>{inner}</a>".encode()) == prefixes


def test_a_place_is_numbered_where_an_element_has_siblings():
    tree = read_tree(b'<a xmlns="urn:hl7-org:v3"><b/><b><c/></b></a>', [])
    assert tree.place_of(tree.root.inner[1].inner[0], "x") == "b[2]/c/@x"


def test_a_text_may_be_as_long_as_a_scanned_letter():
    text = "A" * 11_000_000
    assert read(DOCUMENT.replace("Grüße", text).encode(), []).find(f"{HL7}title").text == text


@pytest.mark.parametrize("depth", [MAX_DEPTH - 2, MAX_DEPTH - 1, 300, 2_000, 100_000])
def test_the_depth_is_bounded_by_us_and_by_the_parser(depth):
    data = DOCUMENT.replace("Grüße", "<a>" * depth + "</a>" * depth).encode()
    if depth <= MAX_DEPTH - 2:
        read(data, [])
    else:
        with pytest.raises(CdaError):
            read(data, [])


def _said(root):
    return [(one.tag, one.attributes, one.text, one.tail, len(one.inner)) for one in root.iter()]


def test_what_is_changed_in_one_element_of_a_large_document_is_not_changed_in_those_that_share_its_attributes(
    monkeypatch,
):
    """A negation that an entry says was one of every statement with the attributes of the statement in it."""
    one = '<entry><act moodCode="EVN"/></entry>'
    data = (
        f'<a xmlns="urn:hl7-org:v3"><entry negationInd="true"><act moodCode="EVN"/></entry>{one}</a>'.encode()
    )
    monkeypatch.setattr(parsing, "LARGE", 0)
    acts = [child for entry in read_tree(data, []).root for child in entry]
    assert [act.get("negationInd") for act in acts] == ["said by what holds it", None]


@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_a_large_document_is_the_same_tree_with_equal_parts_shared(monkeypatch, size):
    once = '<b x="1" sdtc:negationInd="1">é<c root="2.999"/> t <c root="2.999">\n</c></b>\n'
    data = (
        '<a xmlns="urn:hl7-org:v3" xmlns:sdtc="urn:hl7-org:sdtc" negationInd="0">'
        + once * (size // len(once) + 1)
        + "</a>"
    ).encode()
    plain = read_tree(data, [])
    monkeypatch.setattr(parsing, "LARGE", 0)
    shared = read_tree(data, [])
    assert _said(shared.root) == _said(plain.root)
    assert [one.get("negationInd") for one in shared.root] == ["true"] * len(plain.root.inner)
    first, last = shared.root.inner[0], shared.root.inner[-1]
    assert last.tail is first.tail
    assert last.inner[0].attributes is first.inner[1].attributes
    for broken in (data[:-1], data[:100], data[:-4], data + b"<", data.replace(b"</a>", b"&x;</a>")):
        with pytest.raises(CdaError, match="well-formed"):
            read_tree(broken, [])


@pytest.mark.parametrize("name", ["", "1 2", "a"])
def test_an_xml_id_that_is_no_name_or_stands_twice_refuses_nothing(name):
    entry = f'<entry><h:act xmlns:h="urn:hl7-org:v3" xml:id="{name}" moodCode="EVN"><code code="1"/></h:act></entry>'
    data = document(entry).replace(b"<title>A", b'<title xml:id="a">A')
    plain = CONVERTER.convert(
        data.replace(b' xml:id="a"', b"").replace(f' xml:id="{name}"'.encode(), b""), at_us=0
    )
    found = CONVERTER.convert(data, at_us=0)
    assert [one["resourceType"] for one in found.resources] == [
        one["resourceType"] for one in plain.resources
    ]


@pytest.mark.parametrize("text", ["Hb > 10", "Hb &gt; 10", "it's > 10"])
def test_a_value_beside_a_null_flavor_is_taken_out_though_a_quoted_sign_seems_to_end_its_tag(text):
    issues = []
    code = f'<code nullFlavor="UNK" displayName="{text}" code="1"/>'
    root = read(f'<ClinicalDocument xmlns="urn:hl7-org:v3">{code}</ClinicalDocument>'.encode(), issues)
    assert "code" not in root.inner[0].attributes
    assert [issue.place for issue in issues] == ["code/@code"]


def test_what_an_element_stands_in_is_known_of_each():
    data = document(
        "<entry><act moodCode='EVN'><code code='1'/><text>a<content ID='x'><br/></content></text></act></entry>"
    )
    root = read_tree(data, []).root
    assert all(child.around is element for element in root.iter() for child in element)
    assert root.around is None


def test_a_part_without_children_stands_in_what_is_put_around_it():
    tree = read_tree(b'<act xmlns="urn:hl7-org:v3"/>', [])
    act = tree.root
    tree.wrap(("section", "entry"))
    assert local(act.around) == "entry"
    assert act.around.around is tree.root
    assert tree.root.around is None
    assert tree.place_of(act) == "entry/act"


def test_what_was_taken_out_stands_in_nothing():
    tree = read_tree(b'<a xmlns="urn:hl7-org:v3"><b/><c><d/></c></a>', [])
    root = tree.root
    first, second = root.inner
    tree.remove(first)
    assert first.around is None
    assert root.inner == [second]
    with pytest.raises(KeyError):
        tree.remove(root)
    inner = second.inner[0]
    root.release()
    assert [one.around for one in (second, inner)] == [None, None]
    assert not root.inner
    assert not second.inner


@pytest.mark.parametrize(
    "before",
    [
        "",
        " \n",
        "\N{NO-BREAK SPACE}",
        "\x1c",
        '<?xml version="1.0" encoding="utf-8"?>\n',
        '<?xml version="1.0" encoding="us-ascii"?>\n',
        "<!-- é -->" * 700,  # longer than what is looked at first
        "<!--" + "é" * 5000 + "-->",
    ],
)
@pytest.mark.parametrize("said", ["Grüße", "x" * 300_000 + "é", "plain"])
def test_a_document_in_utf_8_is_its_own_root_element(before, said):
    whole = DOCUMENT.replace("Grüße", said)
    assert utf8.mended((before + whole).encode(), []) == whole.encode()


def test_bytes_that_are_no_utf_8_are_found_wherever_they_are():
    issues = []
    data = DOCUMENT.replace("Grüße", "x" * 600_000 + "ü").encode("windows-1252")
    assert read(data, issues).inner[0].text == "x" * 600_000 + "ü"
    assert [one.text for one in issues] == ["not utf-8 as declared; read as it seems"]
    assert utf8.mended(DOCUMENT.encode()[:-3] + "ü".encode()[:1], []).endswith("Ã".encode())
