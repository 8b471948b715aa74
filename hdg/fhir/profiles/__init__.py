"""Profiles: FHIR packages in the data folder, and resources checked against what they define.

R4 profiling.html, R4 packages (npm form), R4 elementdefinition.html.

    package.py    a package file (.tgz) → its definitions; what is broken is named
    shelf.py      the loaded packages in a folder: load, list, remove
    library.py    canonical URL → definition, over all loaded packages
    tree.py       a StructureDefinition, snapshot or differential over its base → one tree of elements
    values.py     the items of an element; fixed[x] and pattern[x]
    valuesets.py  is a code in a value set: yes, no, or not to be told, and why
    rules.py      the checks of one item beyond its children: values, types, bindings, invariants
    slicing.py    which slice an item belongs to, and the rules about slices
    compiled.py   a tree → closures
    current.py    what is loaded now, for a server that goes on running
    loading.py    package file → shelf
    run.py        what one validation carries along
    check.py      a resource against profiles and the definitions of its extensions → Issues
"""
