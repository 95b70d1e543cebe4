"""Tables in the formats of published data sets, with invented rows."""

from io import StringIO

import pandas as pd
import pytest

from mm_sae_plugin.applications.bias.groups import Groups
from mm_sae_plugin.applications.bias.layouts import read_layout, recognised
from mm_sae_plugin.errors import UserError

FAIRFACE = """file,age,gender,race,service_test
train/1.jpg,50-59,Male,East Asian,True
train/2.jpg,30-39,Female,Indian,False
train/3.jpg,0-2,Female,Black,False
train/4.jpg,more than 70,,White,True
"""
CELEBA_TXT = """4
5_o_Clock_Shadow Arched_Eyebrows Male Smiling Young
000001.jpg -1  1 -1  1  1
000002.jpg -1 -1 -1  1  1
000003.jpg -1 -1  1 -1 -1
000004.jpg  1 -1  1 -1  1
"""
CELEBA_CSV = """image_id,5_o_Clock_Shadow,Male,Young
000001.jpg,-1,-1,1
000002.jpg,-1,-1,1
000003.jpg,-1,1,-1
000004.jpg,1,1,1
"""
IDENTITIES = """000001.jpg 2880
000002.jpg 2937
000004.jpg 8692
"""
FACET = (
    "person_id,filename,class1,class2,bounding_box,gender_presentation_masc,"
    "gender_presentation_fem,gender_presentation_non_binary,gender_presentation_na,"
    "age_presentation_young,age_presentation_middle,age_presentation_older\n"
    '11,sa_1.jpg,nurse,,"{""x"": 1}",0,1,0,0,1,0,0\n'
    '12,sa_2.jpg,guitarist,singer,"{""x"": 1}",1,0,0,0,0,1,0\n'
    '13,sa_3.jpg,farmer,,"{""x"": 1}",0,0,0,1,0,0,1\n'
    '14,sa_4.jpg,doctor,,"{""x"": 1}",1,0,0,0,0,1,0\n'
    '15,sa_4.jpg,patient,,"{""x"": 1}",0,1,0,0,0,1,0\n'
    '16,sa_5.jpg,dancer,,"{""x"": 1}",0,0,1,0,1,0,0\n'
    '17,sa_6.jpg,dancer,,"{""x"": 1}",1,1,0,0,1,0,0\n'
)
URL = "URL type (Type NA if can't find)"
VISOGENDER_OO = (
    f"IDX\tSector\tSpecialisation\tOccupation\tObject\t{URL}\tLICENSE OK?\t"
    "Occupation_perceived_gender\tError codes\tAnnotator\n"
    "OO_1\tmedical\thospital_worker\tdoctor\tclipboard\thttps://x.org/1.jpg\tYes\tmasculine\t\tA\n"
    "OO_2\tmedical\thospital_worker\tdoctor\tclipboard\thttps://x.org/2.jpg\tYes\tfeminine\t\tA\n"
    "OO_3\toffice\tlegal\tlawyer\tdesk\tNA\t\tfeminine\t\tB\n"
    "OO_4\toffice\tlegal\tlawyer\tdesk\thttps://x.org/4.jpg\tYes\tneutral\t\tB\n"
)
VISOGENDER_OP = (
    f"IDX\tSector\tSpecialisation\tOccupation\tParticipant\t{URL}\tLicence\t"
    "Occupation_Gender\tParticipant_Gender\tError codes\tAnnotator\n"
    "OP_1\teducation\tinstitutional\tteacher\tstudent\thttps://x.org/1.jpg\tYes\tman\twoman\t\tA\n"
    "OP_2\teducation\tinstitutional\tteacher\tstudent\thttps://x.org/2.jpg\tYes\twoman\tman\t\tA\n"
)
UTKFACE = [
    "26_1_2_20170116184024662.jpg.chip.jpg",
    "UTKFace/100_0_0_20170112213500903.jpg",
    r"part1\3_0_4_20161219225634654.jpg",
    "61_1_20170109142408075.jpg",
]


def _csv(text: str, **options) -> pd.DataFrame:
    return pd.read_csv(StringIO(text), **options)


def test_fairface():
    found = read_layout(_csv(FAIRFACE))
    assert found.layout == "FairFace"
    assert found.image == ("train/1.jpg", "train/2.jpg", "train/3.jpg")
    assert found.group == ("man", "woman", "woman")
    assert found.target is None and found.identity is None
    assert found.words == {"man": "Male", "woman": "Female"}
    assert found.left_out == {"its gender is not given": 1}


def test_groups_may_be_of_another_attribute():
    assert read_layout(_csv(FAIRFACE), "race").group == ("East Asian", "Indian", "Black", "White")
    assert read_layout(_csv(FAIRFACE), "age").group[-1] == "more than 70"
    assert read_layout(_csv(FACET), "age").group == ("young", "middle", "older", "young", "young")
    assert read_layout(_csv(CELEBA_CSV), "age").group == ("young", "young", "not young", "young")
    utkface = pd.DataFrame({"file": UTKFACE})
    assert read_layout(utkface, "race").group == ("Asian", "White", "Others")
    with pytest.raises(UserError, match=r"^CelebA has no 'race': choose from gender, age\.$"):
        read_layout(_csv(CELEBA_CSV), "race")


@pytest.mark.parametrize(
    "table", [_csv(CELEBA_TXT, sep=r"\s+", skiprows=1), _csv(CELEBA_CSV)], ids=["txt", "csv"]
)
def test_celeba(table):
    found = read_layout(table)
    assert found.layout == "CelebA"
    assert found.image == tuple(f"00000{i}.jpg" for i in range(1, 5))
    assert found.group == ("woman", "woman", "man", "man")
    assert found.words == {"woman": "Male -1", "man": "Male 1"}
    assert found.identity is None and found.left_out == {}


def test_celeba_with_its_identities():
    people = _csv(IDENTITIES, sep=r"\s+", header=None)
    found = read_layout(_csv(CELEBA_CSV), identities=people)
    assert found.image == ("000001.jpg", "000002.jpg", "000004.jpg")
    assert found.identity == ("2880", "2937", "8692")
    assert found.left_out == {"its identity is not given": 1}
    with pytest.raises(UserError, match="identity file has 1 columns"):
        read_layout(_csv(CELEBA_CSV), identities=people.drop(columns=[1]))


def test_utkface_is_known_by_its_file_names():
    found = read_layout(pd.DataFrame({"image": UTKFACE}))
    assert found.layout == "UTKFace"
    assert found.image == tuple(UTKFACE[:3])
    assert found.group == ("woman", "man", "man")
    assert found.words == {"woman": "gender 1", "man": "gender 0"}
    assert found.left_out == {"the file name is not age_gender_race_date": 1}


def test_utkface_files_with_slips_behind_the_date_are_kept():
    slips = [
        "55_0_0_20170116232725357jpg.chip.jpg",
        "24_0_1_20170116220224657 .jpg.chip.jpg",
        "44_1_4_20170116235150272.pg.chip.jpg",
    ]
    found = read_layout(pd.DataFrame({"image": slips}), "race")
    assert found.image == tuple(slips)
    assert found.group == ("White", "Black", "Others")
    with pytest.raises(UserError, match="of no layout that is known"):
        recognised(pd.DataFrame({"image": ["1_0_2_3.jpg", "2_1_0_7.jpg"]}))


def test_facet_leaves_out_pictures_of_several_people():
    found = read_layout(_csv(FACET))
    assert found.layout == "FACET"
    assert found.image == ("sa_1.jpg", "sa_2.jpg")
    assert found.group == ("woman", "man")
    assert found.target == ("nurse", "guitarist")
    assert found.identity == ("11", "12")
    assert found.words == {"woman": "fem", "man": "masc"}
    assert found.left_out == {
        "its gender is not given": 3,
        "the picture shows several annotated people": 2,
    }
    partial = _csv(FACET).drop(columns="age_presentation_older")
    with pytest.raises(UserError, match="lacks the column 'age_presentation_older'"):
        read_layout(partial, "age")


def test_visogender_of_objects():
    found = read_layout(_csv(VISOGENDER_OO, sep="\t"))
    assert found.layout == "VisoGender"
    assert found.image == ("https://x.org/1.jpg", "https://x.org/2.jpg")
    assert found.group == ("man", "woman")
    assert found.target == ("doctor", "doctor")
    assert found.left_out == {"no picture was found for it": 1, "its gender is not given": 1}
    kept = _csv(VISOGENDER_OO, sep="\t", keep_default_na=False)
    assert read_layout(kept).left_out == found.left_out


def test_visogender_of_participants_goes_by_who_has_the_occupation():
    found = read_layout(_csv(VISOGENDER_OP, sep="\t"))
    assert found.group == ("man", "woman")
    assert found.target == ("teacher", "teacher")
    assert found.words == {"man": "man", "woman": "woman"}


def test_an_unknown_table_is_told_its_columns():
    table = pd.DataFrame({"picture": ["a.jpg"], "who": ["x"]})
    with pytest.raises(UserError, match=r"^The columns 'picture', 'who' are of no layout that is"):
        recognised(table)
    wide = pd.DataFrame({f"c{i}": [0] for i in range(20)})
    with pytest.raises(UserError, match=r"'c11' and 8 more are of no layout"):
        recognised(wide)
    with pytest.raises(UserError, match=r"name the group column instead\.$"):
        recognised(pd.DataFrame({"file": ["holiday.jpg"], "gender": ["Male"]}))
    with pytest.raises(UserError, match=r"The columns \(none\) are"):
        recognised(pd.DataFrame())


def test_a_table_of_which_nothing_is_left_says_why():
    with pytest.raises(UserError, match=r"^No row is left of the FairFace table: its gender is"):
        read_layout(_csv(FAIRFACE).assign(gender="?"))
    with pytest.raises(UserError, match="of the FairFace table, which is empty"):
        read_layout(_csv(FAIRFACE).iloc[:0])


def test_what_was_read_is_what_groups_take():
    found = read_layout(_csv(FACET))
    groups = Groups(found.group, found.target, found.identity, least=1)
    assert groups.counts().loc["woman", "nurse"] == 1
