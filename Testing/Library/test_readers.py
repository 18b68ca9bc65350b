import base64
import csv
import json
import re
import zlib

import numpy as np
import pydicom
import pytest
import torch
from dicom_examples import noise_frames, xa_file
from FluoroDenoiseLib import cli
from FluoroDenoiseLib.errors import OutputError
from FluoroDenoiseLib.evaluation import readers_page
from FluoroDenoiseLib.evaluation.readers_frames import GreyLevels, first_window, pack
from FluoroDenoiseLib.evaluation.readers_key import QUESTIONS, read_key
from FluoroDenoiseLib.evaluation.readers_page import PagePictures
from FluoroDenoiseLib.fluoro_run import FluoroRun
from FluoroDenoiseLib.model_folder import build_network, save_model
from FluoroDenoiseLib.recipe import PretrainRecipe

TINY = PretrainRecipe(name="tiny", radius=1, widths=(8, 8), blocks=1, steps=2, batch=1, patch=32, warmup_steps=1,
                      checkpoint_every=1, precision="float32")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, build_network(TINY).state_dict(), TINY, {"data": "none"})
    return str(folder)


def write_runs(folder, names=("Meier_Anna.npy", "deep/b.npy", "c.npy"), count=3, offset=0):
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.random.default_rng(index).normal(1000 + offset, 30, (count, 24, 32)).astype(np.uint16))
    return folder


@pytest.fixture
def study(tmp_path):
    """Page and key of three runs, noisy and by one other."""
    runs, ours = write_runs(tmp_path / "runs"), write_runs(tmp_path / "ours", offset=5)
    page = tmp_path / "study.html"
    assert cli.main(["readers", str(page), str(runs), "--presets", "--arm", f"ours={ours}"]) == 0
    return page, tmp_path / "study.key.json"


def unpack(text, shape):
    """What the page does with a line of text."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(2, -1).astype(np.int64)
    zigzag = planes[0] | planes[1] << 8
    return np.cumsum((zigzag >> 1) ^ -(zigzag & 1)).reshape(shape)


def facts_and_frames(page):
    """What a page holds: its facts, and the lines of every picture by its code."""
    text = page.read_text(encoding="utf-8")
    facts = json.loads(re.search(r'id="facts">(.*?)</script>', text)[1])
    frames = {code: lines.split("\n") for code, lines in re.findall(r'<script type="text/plain" id="(p\w+)">(.*?)</script>', text, re.DOTALL)}
    return facts, frames


def answers(key, path, reader, score, skip=()):
    """A CSV as the page saves it; score(question, arm, index of the case) -> 1..5."""
    with open(path, "w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["study", "reader", "order", "case", "position", "code", *(one.name for one in QUESTIONS), "seconds", "comment"])
        for index, (code, case) in enumerate(key.cases.items()):
            for position, (picture, arm) in zip("ABCDEF", case.pictures.items()):
                if index not in skip:
                    scores = [score(one.name, arm, index) for one in QUESTIONS]
                    writer.writerow([key.study, reader, index + 1, code, position, picture, *scores, "12.5", "=so, it \"is\""])
    return path


def sentence(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fluorodenoise: ")]
    assert len(lines) == 1
    return lines[0]


def test_the_page_holds_every_frame_of_every_arm_exactly(study, tmp_path):
    page, key_file = study
    facts, frames = facts_and_frames(page)
    key = read_key(key_file)
    assert key.arms == ("noisy", "ours") and len(facts["cases"]) == 3 and facts["study"] == key.study
    for case in facts["cases"]:
        for code in case["pictures"]:
            arm = key.cases[case["code"]].pictures[code]
            stored = np.load(tmp_path / ("ours" if arm == "ours" else "runs") / key.cases[case["code"]].run)
            shown = np.stack([unpack(line, stored.shape[1:]) for line in frames[code]]) * case["step"] + case["low"]
            np.testing.assert_array_equal(shown, stored)


def test_the_page_names_no_run_no_arm_and_no_address(study):
    page, key_file = study
    text = page.read_text(encoding="utf-8")
    for word in ("Meier", "deep", "ours", "npy", "http:", "https:", "//cdn", str(page.parent)):
        assert word not in text
    assert "Meier_Anna.npy" in key_file.read_text()
    assert "default-src 'none'" in text


def test_the_order_in_the_page_is_that_of_the_codes(study):
    facts, frames = facts_and_frames(study[0])
    codes = [case["code"] for case in facts["cases"]]
    assert codes == sorted(codes) and list(frames) == sorted(frames)
    assert all(case["pictures"] == sorted(case["pictures"]) for case in facts["cases"])


def test_the_same_seed_makes_the_same_study_and_another_seed_other_codes(tmp_path):
    runs, ours = write_runs(tmp_path / "runs"), write_runs(tmp_path / "ours", offset=5)
    arguments = [str(runs), "--presets", "--arm", f"ours={ours}"]
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert cli.main(["readers", str(tmp_path / f"{name}.html"), *arguments, "--seed", seed]) == 0
    a, b, c = ((tmp_path / f"{name}.html").read_bytes() for name in "abc")
    assert a == b != c
    assert not set(facts_and_frames(tmp_path / "a.html")[1]) & set(facts_and_frames(tmp_path / "c.html")[1])


def test_presets_denoise_the_runs_and_only_the_middle_frames_are_shown(tmp_path, model, capsys):
    source = write_runs(tmp_path, ("run.npy",), count=6) / "run.npy"
    page = tmp_path / "page.html"
    assert cli.main(["readers", str(page), str(source), "--presets", model, "--frames", "2", "--device", "cpu"]) == 0
    facts, frames = facts_and_frames(page)
    (case,) = read_key(tmp_path / "page.key.json").cases.values()
    stored = np.load(source)
    by_arm = {arm: np.stack([unpack(line, stored.shape[1:]) for line in frames[code]]) for code, arm in case.pictures.items()}
    np.testing.assert_array_equal(by_arm["noisy"] * facts["cases"][0]["step"] + facts["cases"][0]["low"], stored[2:4])
    assert 0.2 * by_arm["noisy"].std() < by_arm["tiny"].std() < 0.9 * by_arm["noisy"].std()
    printed = capsys.readouterr().out
    assert "1 run by noisy, tiny" in printed and "burned into" in printed and "page.key.json" in printed


def test_dicom_is_shown_as_it_is_meant_and_its_patient_stays_outside(tmp_path):
    source = xa_file(tmp_path / "run.dcm", noise_frames(3), PhotometricInterpretation="MONOCHROME1", PatientName="Meier^Anna", PatientID="77123")
    page = tmp_path / "page.html"
    arm = tmp_path / "copy.dcm"
    arm.write_bytes(source.read_bytes())
    assert cli.main(["readers", str(page), str(source), "--presets", "--arm", f"other={arm}"]) == 0
    facts, _ = facts_and_frames(page)
    assert facts["cases"][0]["inverted"] is True
    for value in ("Meier", "77123", str(pydicom.dcmread(source, stop_before_pixels=True).SOPInstanceUID)):
        assert value not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("frames", [np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.full((1, 3, 4), 7, np.uint16),
                                    np.arange(24, dtype=np.int16).reshape(2, 3, 4) * 60 - 700], ids=["8 bits", "constant", "signed"])
def test_integer_values_that_fit_4096_greys_are_kept(frames):
    levels = GreyLevels.of_run(FluoroRun.from_array(frames))
    for frame in frames:
        np.testing.assert_array_equal(unpack(pack(levels.levels(frame)), frame.shape) * levels.step + levels.low, frame)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_wider_range_is_shown_in_4096_greys(dtype):
    frames = np.linspace(0, 60000, 24).reshape(2, 3, 4).astype(dtype)
    levels = GreyLevels.of_run(FluoroRun.from_array(frames))
    back = unpack(pack(levels.levels(frames[1])), (3, 4)) * levels.step + levels.low
    assert abs(back - frames[1]).max() <= 60000 / 4095 / 2 + 0.01


def test_the_first_window_does_not_widen_with_noise():
    random = np.random.default_rng(0)
    scene = np.tile(np.linspace(500, 1500, 128), (128, 1))
    (low, high), (noisy_low, noisy_high) = (first_window(np.clip(scene + random.normal(0, sigma, scene.shape), 0, 4095)) for sigma in (0, 200))
    assert noisy_high - noisy_low < 1.2 * (high - low)


def test_a_page_too_large_for_browsers_is_refused_before_it_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(readers_page, "MOST_BYTES", 5000)
    runs, ours = write_runs(tmp_path / "runs"), write_runs(tmp_path / "ours", offset=5)
    assert cli.main(["readers", str(tmp_path / "page.html"), str(runs), "--presets", "--arm", f"ours={ours}"]) == 8
    assert "--frames" in sentence(capsys) and not list(tmp_path.glob("page*")) and not list(tmp_path.glob(".*"))
    with pytest.raises(OutputError, match="larger than"):
        PagePictures().add("p", "x" * 5000)


@pytest.mark.parametrize("arguments, code, words", [
    (["{tmp}/page.txt", "{tmp}/runs"], 2, "must end in .html"),
    (["{tmp}/page.html", "{tmp}/absent"], 3, "does not exist"),
    (["{tmp}/page.html", "{tmp}/empty"], 3, "holds no runs"),
    (["{tmp}/page.html", "{tmp}/runs", "--presets"], 2, "2 to 6 pictures"),
    (["{tmp}/page.html", "{tmp}/runs", "--presets", "--arm", "ours"], 2, "NAME=PATH"),
    (["{tmp}/page.html", "{tmp}/runs", "--presets", "--arm", "noisy={tmp}/runs3"], 2, "Two arms are called noisy"),
    (["{tmp}/page.html", "{tmp}/runs", "--presets", "--arm", "ours={tmp}/empty"], 3, "needs a result for each run"),
    (["{tmp}/page.html", "{tmp}/runs", "--presets", "--arm", "ours={tmp}/runs2"], 3, "the same frames"),
    (["{tmp}/page.html", "{tmp}/runs", "--presets", "--arm", "ours={tmp}/runs2/c.npy"], 3, "the same frames"),
    (["{tmp}/there.html", "{tmp}/runs", "--presets", "--arm", "ours={tmp}/runs2"], 8, "--overwrite"),
    (["{tmp}/no/page.html", "{tmp}/runs"], 8, "does not exist"),
])  # fmt: skip
def test_a_study_that_cannot_be_made_is_refused_in_one_sentence(tmp_path, capsys, arguments, code, words):
    write_runs(tmp_path / "runs")
    write_runs(tmp_path / "runs2", count=4)
    write_runs(tmp_path / "runs3")
    (tmp_path / "empty").mkdir()
    (tmp_path / "there.html").write_text("mine")
    before = sorted(tmp_path.iterdir())
    assert cli.main(["readers", *(one.format(tmp=tmp_path) for one in arguments)]) == code
    assert words in sentence(capsys)
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / "there.html").read_text() == "mine"


def test_one_file_cannot_be_the_result_of_many_runs(tmp_path, capsys):
    runs = write_runs(tmp_path / "runs")
    assert cli.main(["readers", str(tmp_path / "page.html"), str(runs), "--presets", "--arm", f"ours={runs / 'c.npy'}"]) == 2
    assert "one file but there are" in sentence(capsys)


def test_readers_are_joined_into_means_tests_and_agreement(study, tmp_path, capsys):
    page, key_file = study
    key = read_key(key_file)
    one = answers(key, tmp_path / "one.csv", "One", lambda question, arm, index: 2 + 2 * (arm == "ours"))
    two = answers(key, tmp_path / "two.csv", "Two", lambda question, arm, index: 3 + 1 * (arm == "ours"), skip=(1,))
    out = tmp_path / "out"
    assert cli.main(["readers-join", str(key_file), str(one), str(two), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "2 readers, 3 of 3 runs, 5 of 6 readings" in printed and "it takes 6" in printed
    tables = {path.stem: list(csv.DictReader(path.open(encoding="utf-8"))) for path in out.glob("*.csv")}
    means = {(row["question"], row["arm"]): row for row in tables["means"]}
    # Of the noisy runs two have the mean 2.5 of both readers, and one the 2 of the first alone.
    assert float(means["noise", "noisy"]["mean"]) == pytest.approx((2.5 + 2.5 + 2) / 3) and means["noise", "noisy"]["runs"] == "3"
    difference = tables["differences"][0]
    assert (difference["arm"], difference["than"]) == ("ours", "noisy")
    assert float(difference["mean"]) == pytest.approx((1.5 + 1.5 + 2) / 3) and float(difference["p"]) == 0.25
    # 2 4 2 4 against 3 4 3 4: the squared steps are 0.5 in the mean, and over all pairings 1.5.
    assert float(tables["agreement"][0]["kappa"]) == pytest.approx(1 - 0.5 / 1.5) and tables["agreement"][0]["pictures"] == "4"
    assert {row["run"] for row in tables["scores"]} == {"Meier_Anna.npy", "deep/b.npy", "c.npy"} and len(tables["scores"]) == 10
    assert tables["scores"][0]["comment"].lstrip() == '=so, it "is"' and not tables["scores"][0]["comment"].startswith("=")
    assert (out / "report.md").read_text(encoding="utf-8").strip() in printed


def test_a_reader_alone_has_means_but_no_agreement(study, tmp_path, capsys):
    key = read_key(study[1])
    one = answers(key, tmp_path / "one.csv", "One", lambda question, arm, index: 3)
    assert cli.main(["readers-join", str(study[1]), str(one)]) == 0
    printed = capsys.readouterr().out
    assert "needs two of them" in printed and "3.00 [3.00, 3.00]" in printed and "1.000" in printed


def test_a_csv_that_a_spreadsheet_saved_again_is_read(study, tmp_path):
    key = read_key(study[1])
    one = answers(key, tmp_path / "one.csv", "One", lambda question, arm, index: 3)
    again = tmp_path / "again.csv"
    with open(one, encoding="utf-8-sig", newline="") as file, open(again, "w", encoding="utf-8", newline="") as written:
        csv.writer(written, delimiter=";").writerows([cell.replace("12.5", "12,5") for cell in row] for row in csv.reader(file))
    assert cli.main(["readers-join", str(study[1]), str(again)]) == 0


SPOILT = {
    "empty": (lambda text: "", "no column 'study'"),
    "no answers": (lambda text: text.splitlines()[0] + "\n", "holds no answers"),
    "another table": (lambda text: "a,b\n1,2\n", "no column 'study'"),
    "another study": (lambda text: re.sub(r"^[0-9a-f]{12}", "f" * 12, text, flags=re.MULTILINE), "but the key is that of"),
    "an unknown picture": (lambda text: re.sub(r",p[0-9a-f]+,", ",pffffff,", text, count=1), "is not in the key"),
    "a score of 6": (lambda text: text.replace(",3,3,3,3,3,", ",3,3,6,3,3,", 1), "must be one of 1, 2, 3, 4, 5"),
    "no score": (lambda text: text.replace(",3,3,3,3,3,", ",3,3,,3,3,", 1), "structures is ''"),
    "a negative time": (lambda text: text.replace("12.5", "-1", 1), "seconds are '-1'"),
    "an endless time": (lambda text: text.replace("12.5", "inf", 1), "seconds are 'inf'"),
    "a short line": (lambda text: text.replace(',12.5,"=so, it ""is"""', "", 1), "not as many fields"),
    "a picture twice": (lambda text: text + text.splitlines()[-1] + "\n", "is there twice"),
    "a picture missing": (lambda text: "\n".join(text.splitlines()[:-1]) + "\n", "lacks picture"),
    "two readers": (lambda text: text.replace("One", "Other", 1), "of 2 readers"),
    "nobody": (lambda text: text.replace("One", " ", 1), "has no name"),
    "an order of x": (lambda text: text.replace("One,1,", "One,x,", 1), "order is 'x'"),
    "an open quote": (lambda text: text.rstrip() + '\n"' + "x" * 140000, "CSV"),
}


@pytest.mark.parametrize("spoil, words", SPOILT.values(), ids=SPOILT)
def test_a_bad_csv_is_refused_in_one_sentence(study, tmp_path, capsys, spoil, words):
    one = answers(read_key(study[1]), tmp_path / "one.csv", "One", lambda question, arm, index: 3)
    one.write_text(spoil(one.read_text(encoding="utf-8-sig")), encoding="utf-8")
    assert cli.main(["readers-join", str(study[1]), str(one), "--out", str(tmp_path / "out")]) == 3
    said = sentence(capsys)
    assert words in said and "one.csv" in said and not (tmp_path / "out").exists()


def test_bytes_that_are_no_text_and_absent_files_are_refused(study, tmp_path, capsys):
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00\x81")
    for name, words in (("bytes.csv", "UTF-8"), ("absent.csv", "does not exist"), (".", "cannot be read")):
        assert cli.main(["readers-join", str(study[1]), str(tmp_path / name)]) == 3
        assert words in sentence(capsys)


def test_a_reader_counts_once(study, tmp_path, capsys):
    key = read_key(study[1])
    files = [str(answers(key, tmp_path / f"{name}.csv", name.title(), lambda question, arm, index: 3)) for name in ("one", "ONE")]
    assert cli.main(["readers-join", str(study[1]), *files]) == 3
    assert "are both of the reader" in sentence(capsys)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', "[" * 100000, '{"format": 1, "cases": {"c": {"run": 1}}, "arms": []}'],
                         ids=["empty", "list", "object", "format", "deep", "parts"])
def test_a_file_that_is_no_key_is_refused(tmp_path, capsys, text):
    (tmp_path / "key.json").write_text(text)
    assert cli.main(["readers-join", str(tmp_path / "key.json"), "any.csv"]) == 3
    assert "not the key of a reader study" in sentence(capsys)


def test_a_report_is_not_replaced_unasked(study, tmp_path, capsys):
    one = answers(read_key(study[1]), tmp_path / "one.csv", "One", lambda question, arm, index: 3)
    arguments = ["readers-join", str(study[1]), str(one), "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 0 and cli.main(arguments) == 8
    assert "--overwrite" in sentence(capsys)
    assert cli.main([*arguments, "--overwrite"]) == 0
