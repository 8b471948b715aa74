"""What each unit is: facts of physics, law and trade, one unit a line. Written for this package.

UCUM §§27-45 (https://ucum.org/ucum) name the units; what an inch or a calorie is has been fixed elsewhere (SI
brochure, international yard and pound, Mendenhall order, US customary gallon). A line is: code, then a factor and
an expression in other units. Left out are physical constants, units of printing and old local measures: their codes
are not converted.

Deliberately not as UCUM has it: ``mol`` is no number of particles, ``eq`` and ``osm`` are no moles (a millimole of
calcium is two milliequivalents), and a microscope's field is no number. Nobody's results are equated by that.
"""

from __future__ import annotations

__all__ = ["AFFINE", "ALONE", "ARBITRARY", "BASE", "METRIC", "PLAIN", "PREFIXED", "PREFIXES", "SAME"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PREFIXES: dict[str, tuple[int, int]] = {
    "Y": (10, 24),
    "Z": (10, 21),
    "E": (10, 18),
    "P": (10, 15),
    "T": (10, 12),
    "G": (10, 9),
    "M": (10, 6),
    "k": (10, 3),
    "h": (10, 2),
    "da": (10, 1),
    "d": (10, -1),
    "c": (10, -2),
    "m": (10, -3),
    "u": (10, -6),
    "n": (10, -9),
    "p": (10, -12),
    "f": (10, -15),
    "a": (10, -18),
    "z": (10, -21),
    "y": (10, -24),
    "Ki": (2, 10),
    "Mi": (2, 20),
    "Gi": (2, 30),
    "Ti": (2, 40),
}
"""Prefix → (base, exponent)."""

BASE = _words("m s g rad K C cd mol eq osm")
"""Units that are not made of others; all take prefixes."""

METRIC = """
sr 1 rad2
Hz 1 s-1
N 1 kg.m.s-2
Pa 1 N/m2
J 1 N.m
W 1 J/s
A 1 C/s
V 1 J/C
F 1 C/V
Ohm 1 V/A
S 1 Ohm-1
Wb 1 V.s
T 1 Wb/m2
H 1 Wb/A
lm 1 cd.sr
lx 1 lm/m2
Bq 1 s-1
Gy 1 J/kg
Sv 1 J/kg
kat 1 mol/s
U 1 umol/min
l 1 dm3
L 1 l
ar 100 m2
st 1 m3
t 1000 kg
bar 100000 Pa
g% 1 g/dl
cal 4.184 J
cal_th 4.184 J
cal_IT 4.1868 J
cal_m 4.19002 J
cal_[15] 4.18580 J
cal_[20] 4.18190 J
dyn 1 g.cm/s2
erg 1 dyn.cm
P 1 dyn.s/cm2
St 1 cm2/s
Ky 1 cm-1
Bi 10 A
G 0.0001 T
Mx 0.00000001 Wb
Oe 250 A/([pi].m)
Gb 1 Oe.cm
sb 1 cd/cm2
Lmb 1 cd/cm2/[pi]
Ci 37000000000 Bq
R 0.000258 C/kg
RAD 100 erg/g
REM 1 RAD
gf 1 g.[g]
[g] 9.80665 m/s2
m[H2O] 9.80665 kPa
m[Hg] 133.3220 kPa
mho 1 S
tex 1 g/km
bit 1 1
By 8 bit
Bd 1 s-1
"""
"""Units that take prefixes."""

PLAIN = """
10* 10 1
10^ 10 1
[pi] 3.1415926535897932384626433832795028841971693993751058209749445923 1
% 0.01 1
[ppth] 0.001 1
[ppm] 0.000001 1
[ppb] 0.000000001 1
[pptr] 0.000000000001 1
min 60 s
h 60 min
d 24 h
wk 7 d
a_t 365.24219 d
a_j 365.25 d
a_g 365.2425 d
a 1 a_j
mo_s 29.53059 d
mo_j 1 a_j/12
mo_g 1 a_g/12
mo 1 mo_j
deg 1 [pi].rad/180
gon 0.9 deg
' 1 deg/60
'' 1 '/60
circ 2 [pi].rad
sph 4 [pi].sr
atm 101325 Pa
att 1 kgf/cm2
[in_i] 2.54 cm
[ft_i] 12 [in_i]
[yd_i] 3 [ft_i]
[mi_i] 5280 [ft_i]
[fth_i] 6 [ft_i]
[nmi_i] 1852 m
[kn_i] 1 [nmi_i]/h
[sin_i] 1 [in_i]2
[sft_i] 1 [ft_i]2
[syd_i] 1 [yd_i]2
[cin_i] 1 [in_i]3
[cft_i] 1 [ft_i]3
[cyd_i] 1 [yd_i]3
[bf_i] 144 [in_i]3
[cr_i] 128 [ft_i]3
[mil_i] 0.001 [in_i]
[cml_i] 1 [pi]/4.[mil_i]2
[hd_i] 4 [in_i]
[ft_us] 1200 m/3937
[yd_us] 3 [ft_us]
[in_us] 1 [ft_us]/12
[rd_us] 16.5 [ft_us]
[ch_us] 4 [rd_us]
[lk_us] 1 [ch_us]/100
[fth_us] 6 [ft_us]
[fur_us] 40 [rd_us]
[mi_us] 8 [fur_us]
[acr_us] 160 [rd_us]2
[srd_us] 1 [rd_us]2
[smi_us] 1 [mi_us]2
[mil_us] 0.001 [in_us]
[gal_us] 231 [in_i]3
[bbl_us] 42 [gal_us]
[qt_us] 1 [gal_us]/4
[pt_us] 1 [qt_us]/2
[gil_us] 1 [pt_us]/4
[foz_us] 1 [gil_us]/4
[fdr_us] 1 [foz_us]/8
[min_us] 1 [fdr_us]/60
[bu_us] 2150.42 [in_i]3
[gal_wi] 1 [bu_us]/8
[pk_us] 1 [bu_us]/4
[dqt_us] 1 [pk_us]/8
[dpt_us] 1 [dqt_us]/2
[tbs_us] 1 [foz_us]/2
[tsp_us] 1 [tbs_us]/3
[cup_us] 16 [tbs_us]
[foz_m] 30 ml
[cup_m] 240 ml
[tsp_m] 5 ml
[tbs_m] 15 ml
[drp] 1 ml/20
[gal_br] 4.54609 l
[pk_br] 2 [gal_br]
[bu_br] 4 [pk_br]
[qt_br] 1 [gal_br]/4
[pt_br] 1 [qt_br]/2
[gil_br] 1 [pt_br]/4
[foz_br] 1 [gil_br]/5
[fdr_br] 1 [foz_br]/8
[min_br] 1 [fdr_br]/60
[gr] 64.79891 mg
[lb_av] 7000 [gr]
[oz_av] 1 [lb_av]/16
[dr_av] 1 [oz_av]/16
[stone_av] 14 [lb_av]
[scwt_av] 100 [lb_av]
[lcwt_av] 112 [lb_av]
[ston_av] 2000 [lb_av]
[lton_av] 2240 [lb_av]
[pwt_tr] 24 [gr]
[oz_tr] 20 [pwt_tr]
[lb_tr] 12 [oz_tr]
[sc_ap] 20 [gr]
[dr_ap] 3 [sc_ap]
[oz_ap] 8 [dr_ap]
[lb_ap] 12 [oz_ap]
[oz_m] 28 g
[car_m] 0.2 g
[lbf_av] 1 [lb_av].[g]
[psi] 1 [lbf_av]/[in_i]2
[in_i'H2O] 1 m[H2O].[in_i]/m
[in_i'Hg] 1 m[Hg].[in_i]/m
[Cal] 1 kcal_th
[HP] 550 [ft_i].[lbf_av]/s
[den] 1 g/9/km
[diop] 1 /m
[mesh_i] 1 /[in_i]
[Ch] 1 mm/3
[S] 0.0000000000001 s
[MET] 3.5 mL/min/kg
[PRU] 1 mm[Hg].s/ml
[wood'U] 1 mm[Hg].min/L
[degR] 5 K/9
Ao 0.1 nm
b 100 fm2
"""
"""Units that take none."""

ARBITRARY = _words(
    "[iU] [arb'U] [USP'U] [GPL'U] [MPL'U] [APL'U] [beth'U] [anti'Xa'U] [todd'U] [dye'U] [smgy'U] [bdsk'U] [ka'U] "
    "[knk'U] [mclg'U] [tb'U] [CCID_50] [TCID_50] [EID_50] [PFU] [FFU] [CFU] [IR] [BAU] [AU] [Amb'a'1'U] [PNU] [Lf] "
    "[D'ag'U] [FEU] [ELU] [EU] [hnsf'U] [HPF] [LPF] [car_Au] [NTU] [FNU]"
)
"""Units that are like nothing but themselves, though they may stand in a product (``m[iU]/L``)."""

AFFINE: dict[str, tuple[str, str]] = {
    "Cel": ("1", "273.15"),
    "[degF]": ("5/9", "459.67"),
    "[degRe]": ("5/4", "218.52"),
}
"""Temperatures: (kelvins in one degree, degrees from absolute zero to its own)."""

ALONE = _words(
    "[pH] Np B B[SPL] B[V] B[mV] B[uV] B[10.nV] B[W] B[kW] bit_s [p'diop] %[slope] [m/s2/Hz^(1/2)] [hp'_X] [hp'_C] "
    "[hp'_M] [hp'_Q] [hp_X] [hp_C] [hp_M] [hp_Q] [kp_X] [kp_C] [kp_M] [kp_Q]"
)
"""Units on a scale of their own (logarithms, slopes, potencies): no part of a product, alike only among themselves."""

SAME = {"[IU]": "[iU]"}
"""Two codes of one arbitrary unit."""

PREFIXED = frozenset(
    {"[iU]", "Cel", "Np", "B", "B[SPL]", "B[V]", "B[mV]", "B[uV]", "B[10.nV]", "B[W]", "B[kW]"}
)
"""Those of ARBITRARY, AFFINE and ALONE that take prefixes."""
