"""Nothing of the patient leaves through reading or writing: a canary sits in every field, and is looked for everywhere."""

import logging
import os
import traceback
import warnings

import numpy as np
import pydicom
import pytest
from dicom_examples import COMPRESSED, PROVENANCE, compressed, enhanced_file, noise_frames, xa_file
from FluoroDenoiseLib.errors import FluoroDenoiseError
from FluoroDenoiseLib.formats import frame_range, read_run, write_run

# One token for each place, so that a hit says where it came from; digits for UIDs and dates.
FIELDS = {
    "PatientName": "CANARY^NAME", "PatientID": "CANARYID", "PatientBirthDate": "19010203", "OtherPatientIDs": "CANARYOTHER",
    "PatientAddress": "CANARYSTREET", "PatientComments": "CANARYCOMMENT", "ReferringPhysicianName": "CANARY^DOCTOR",
    "OperatorsName": "CANARY^OPERATOR", "InstitutionName": "CANARYCLINIC", "AccessionNumber": "CANARYACC",
    "StudyDescription": "CANARYSTUDY", "StudyID": "CANARYSID", "StationName": "CANARYSTATION", "ProtocolName": "CANARYPROTOCOL",
    "StudyInstanceUID": "1.2.19010203.1", "SeriesInstanceUID": "1.2.19010203.2", "SOPInstanceUID": "1.2.19010203.3",
    "StudyDate": "19010203", "RequestedProcedureDescription": "CANARYREQUEST", "ImageComments": "CANARYIMAGE",
}  # fmt: skip
TOKENS = ("CANARY", "19010203")


def with_canaries(path):
    header = pydicom.dcmread(path)
    for keyword, value in FIELDS.items():
        setattr(header, keyword, value)
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.private_block(9, "CANARYVENDOR", create=True).add_new(1, "LO", "CANARYPRIVATE")
    header.save_as(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """A folder that is named after the patient."""
    folder = tmp_path / "CANARY^FOLDER"
    folder.mkdir()
    return folder


@pytest.fixture
def heard(caplog, capfd):
    """All that was said since the test began: messages, tracebacks, logs, warnings, both streams."""
    said = []
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def everything():
            out, err = capfd.readouterr()
            return "\n".join([*said, caplog.text, out, err, *(f"{one.message}" for one in caught)])

        everything.note = said.append
        yield everything


def quietly(heard, act):
    """What `act` gives; of a refusal, its sentence and its traceback as it would be printed are noted."""
    try:
        return act()
    except FluoroDenoiseError as error:
        heard.note(str(error))
        lines = traceback.format_exception(error)
        heard.note("".join(line for line in lines if not line.startswith("  File ")))
        return None


def spoiled(path):
    """The file in many broken states, one after the other."""
    whole = path.read_bytes()
    for kept in (200, 400, 700, 0.6, 0.9, 0.99):
        path.write_bytes(whole[: kept if kept > 1 else int(kept * len(whole))])
        yield
    for old, new in (
        (b"66.6666666667", b"CANARYNUMBER\0"), (b"DS", b"IS"), (b"US\x02\0", b"UL\x04\0"), (b"MONOCHROME2", b"CANARYCOLOR"),
        (b"PN", b"DA"), (b"LO", b"SQ"), (b"1.2.840.10008.5.1.4.1.1.12.1", b"1.2.840.19010203.1.4.1.1.12."), (b"IS", b"CANARY"[:2]),
        (b"ISO_IR 192", b"CANARY 192"), (b"ORIGINAL", b"CANARY__"), (b"SINGLE PLANE", b"CANARY PLANE"), (b"LIN ", b"CANA"),
    ):  # fmt: skip
        path.write_bytes(whole.replace(old, new))
        yield
    random = np.random.default_rng(0)
    for _ in range(60):
        mutant = bytearray(whole)
        for place in random.integers(128, min(len(whole), 3000), 6):
            mutant[place] = random.integers(256)
        path.write_bytes(mutant)
        yield


@pytest.mark.parametrize("kind", ["native", "RLE", "enhanced"])
def test_no_message_of_a_broken_file_repeats_what_is_in_it(folder, heard, kind):
    path = with_canaries((enhanced_file if kind == "enhanced" else xa_file)(folder / "run.dcm"))
    if kind == "RLE":
        compressed(path, COMPRESSED["RLE"])
    for state, _ in enumerate(spoiled(path)):
        if kind == "RLE" and state >= 18:  # a process for each takes its time
            break
        run = quietly(heard, lambda: read_run(path))
        if run is not None:
            heard.note("\n".join(run.warnings))
            quietly(heard, lambda: write_run(folder / "out.dcm", run.frames, run, PROVENANCE))
            quietly(heard, lambda: frame_range(run, 1, 2))
    text = heard()
    assert "run.dcm" in text  # it was not simply silent
    assert [line for line in text.splitlines() if any(token in line for token in TOKENS)] == []


def test_names_of_files_aside_say_nothing_even_if_the_result_is_named_after_the_patient(folder):
    run, seen = read_run(with_canaries(xa_file(folder / "CANARY_NAME.dcm"))), set()

    def frames():
        for frame in run.frames:
            seen.update(os.listdir(folder))
            yield frame

    write_run(folder / "CANARY_RESULT.dcm", frames(), run, PROVENANCE)
    aside = seen - {"CANARY_NAME.dcm"}
    assert len(aside) == 1 and not any(token in name for token in TOKENS for name in aside)


def test_what_we_add_to_a_derived_object_says_nothing_of_the_patient_or_the_disk(folder):
    path = with_canaries(xa_file(folder / "CANARY_NAME.dcm"))
    run = read_run(path)
    write_run(folder / "out.dcm", run.frames, run, PROVENANCE)
    source, out = pydicom.dcmread(path), pydicom.dcmread(folder / "out.dcm")
    content = (folder / "out.dcm").read_bytes()
    for place in (b"CANARY_NAME.dcm", b"CANARY^FOLDER", b"CANARYVENDOR", b"CANARYPRIVATE", os.fsencode(str(folder.parent))):
        assert place not in content
    for element in out:
        if element.VR != "SQ" and element.keyword not in FIELDS:
            assert not any(token in str(element.value) for token in TOKENS), element.keyword
    assert "CANARY" not in out.ContributingEquipmentSequence[-1].to_json().replace("CANARYCLINIC", "").replace("CANARYSTATION", "")
    for keyword in FIELDS.keys() - {"StationName", "SeriesInstanceUID", "SOPInstanceUID"}:
        assert out[keyword].value == source[keyword].value  # it is the patient's, and stays
    assert "19010203" not in out.SOPInstanceUID + out.SeriesInstanceUID + out.DeviceUID


def test_a_result_of_another_kind_of_file_says_nothing_either(folder):
    np.save(folder / "CANARY_NAME.npy", noise_frames())
    run = read_run(folder / "CANARY_NAME.npy")
    write_run(folder / "out.npy", run.frames, run, PROVENANCE)
    assert b"CANARY" not in (folder / "out.npy").read_bytes()


def test_drawings_and_burned_in_text_are_named_in_a_warning(folder):
    header = pydicom.dcmread(xa_file(folder / "run.dcm", BurnedInAnnotation="YES"))
    header.add_new(0x60003000, "OW", bytes(96))
    header.save_as(folder / "run.dcm")
    said = " ".join(read_run(folder / "run.dcm").warnings)
    assert "burned into its pictures" in said and "overlays, which can show the patient's name" in said
