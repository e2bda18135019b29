"""Which runs, sweeps and tables a place names, and what is said of one that names nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from dlassign.errors import UserError
from dlassign.store.paths import RunPaths
from dlassign.store.select import find_sources, one_run, run_of_table, runs_at, some_runs
from helpers import report_folder as folder


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    out = tmp_path_factory.mktemp("filled") / "out"
    return SimpleNamespace(out=out, runs=folder.fill(out))


class TestRuns:
    def test_folder_hash_run_link_and_log(self, filled: SimpleNamespace, tmp_path: Path) -> None:
        runs = [paths.root for paths in filled.runs["slow"]]
        first = runs[0]
        link = tmp_path / "latest"
        link.symlink_to(first)
        for place in (first.parent, first.with_name(first.name.partition("-s")[0])):
            assert [paths.root for paths in runs_at(place)] == runs
        for place in (first, first / "log.jsonl", link):
            assert [paths.root for paths in runs_at(place)] == [first]
        assert runs_at(filled.out / "none") == []
        assert runs_at(filled.out / "slow" / "00000000") == []

    def test_each_run_once(self, filled: SimpleNamespace) -> None:
        first = filled.runs["slow"][0].root
        assert [paths.root for paths in some_runs([str(first), str(first.parent)])] == sorted(first.parent.glob("*-s*"))

    def test_one_run(self, filled: SimpleNamespace) -> None:
        first = filled.runs["slow"][0].root
        assert one_run(str(first / "log.jsonl")).root == first
        assert one_run(str(filled.out / "tested")).root.parent == filled.out / "tested"
        with pytest.raises(UserError, match=r"slow holds 3 runs; give one of .*-s0, .*-s1, .*-s2$"):
            one_run(str(first.parent))

    @pytest.mark.parametrize(
        ("place", "said"),
        [
            ("empty", "no runs under empty (a run is a folder with a log.jsonl); `dlassign runs` lists what there is"),
            ("out/slwo", "there is no run out/slwo. Did you mean out/slow? `dlassign runs` lists what there is"),
            ("zzz", "there is no run zzz. `dlassign runs` lists what there is"),
        ],
    )
    def test_a_place_without_runs(self, place: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        folder.make_run(Path("out"), name="slow", steps=4)
        Path("empty").mkdir()
        for find in (one_run, lambda place: some_runs([place])):
            with pytest.raises(UserError) as caught:
                find(place)
            assert str(caught.value) == said

    def test_a_hash_is_suggested_once_for_all_its_seeds(self, filled: SimpleNamespace) -> None:
        first = filled.runs["slow"][0].root
        known = first.with_name(first.name[:8])
        with pytest.raises(UserError, match=rf"Did you mean {known}\?"):
            some_runs([str(known)[:-1]])


class TestSources:
    def test_everything_under_out(self, filled: SimpleNamespace) -> None:
        sources = find_sources([], out=filled.out)
        assert {paths.root for paths in sources.runs} == {log.parent for log in filled.out.rglob("log.jsonl")}
        assert (sources.sweeps, sources.tables) == ((), ())

    def test_a_run_named_twice_is_there_once(self, filled: SimpleNamespace) -> None:
        run = filled.runs["slow"][0]
        sources = find_sources([str(run.root), str(run.log), str(run.root.parent)], out=filled.out)
        assert [paths.root for paths in sources.runs] == [paths.root for paths in filled.runs["slow"]]

    def test_seeds_by_their_hash(self, filled: SimpleNamespace) -> None:
        place = str(filled.runs["fast"][0].root).rpartition("-s")[0]
        assert len(find_sources([place], out=filled.out).runs) == 3

    def test_a_sweep_and_a_table_by_folder_file_and_name(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        runs = [folder.make_run(out, name="sweep", seed=seed) for seed in (0, 1)]
        folder.write_sweep(out / "sweep", runs)
        table = folder.write_table(out, "mine", [str(runs[0].root)], [folder.figure()])
        assert find_sources([], out=out).sweeps == (out / "sweep",)
        assert find_sources([str(out / "sweep" / "table.json")], out=out).sweeps == (out / "sweep",)
        assert find_sources([str(runs[0].root)], out=out).sweeps == ()
        for place in ("mine", str(table), str(out / "tables")):
            sources = find_sources([place], out=out)
            assert sources.tables == (table,)
            assert [paths.root for paths in sources.runs] == [runs[0].root]

    def test_a_table_made_elsewhere_finds_its_runs_beside_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "there" / "out"
        run = folder.make_run(out)
        table = folder.write_table(out, "mine", ["out/toy/" + run.root.name], [folder.figure()])
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        assert run_of_table(table, "out/toy/" + run.root.name).root == run.root

    @pytest.mark.parametrize(
        ("place", "said"),
        [
            ("out/slwo", "Did you mean out/slow"),
            ("mien", "Did you mean mine"),
            ("out/README.md", "neither a run nor a table"),
            ("empty", "no runs and no tables under empty"),
        ],
    )
    def test_a_place_without_anything_is_told(
        self, place: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        folder.make_run(Path("out"), name="slow", steps=4)
        folder.write_table(Path("out"), "mine", [], [])
        Path("out/README.md").write_text("text")
        Path("empty").mkdir()
        with pytest.raises(UserError, match=said):
            find_sources([place], out=Path("out"))

    def test_an_empty_out_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="--out names another folder"):
            find_sources([], out=tmp_path)

    def test_a_table_that_lies_elsewhere_has_no_folder_to_look_in(self, tmp_path: Path) -> None:
        assert run_of_table(Path("/t.json"), "out/a/0a0a0a0a-s0").root == Path("out/a/0a0a0a0a-s0")

    def test_a_run_whose_name_cannot_be_one_is_not_there(self, tmp_path: Path) -> None:
        path = folder.write_table(tmp_path, "mine", ["x" * 5000], [folder.figure()])
        assert find_sources([str(path)], out=tmp_path).runs == ()

    def test_a_table_that_is_a_link_to_itself_hides_nothing_else(self, tmp_path: Path) -> None:
        tables = tmp_path / "tables"
        tables.mkdir()
        (tables / "loop.json").symlink_to("loop.json")
        run = folder.make_run(tmp_path)
        assert [found.root for found in find_sources([], out=tmp_path).runs] == [run.root]

    def test_a_link_that_leads_to_itself_or_nowhere_is_told_as_such(self, tmp_path: Path) -> None:
        for target in ("latest", "gone"):
            link = tmp_path / "latest"
            link.unlink(missing_ok=True)
            link.symlink_to(target)
            with pytest.raises(UserError, match=f"a link that leads to no run: it points to {target}; remove it"):
                some_runs([str(link)])
            with pytest.raises(UserError, match="a link that leads to no run"):
                find_sources([str(link)], out=tmp_path)

    def test_a_folder_that_cannot_be_read_hides_no_others(
        self, filled: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shut = filled.out / "shut"
        shut.mkdir(exist_ok=True)
        is_file = Path.is_file

        def refused(path: Path) -> bool:
            if shut in path.parents:
                raise PermissionError(13, "Permission denied", str(path))
            return is_file(path)

        monkeypatch.setattr(Path, "is_file", refused)
        found = runs_at(filled.out)
        assert {paths.root.parent.name for paths in found} >= {"slow", "fast"}
        assert [paths.root for paths in found if paths.root == shut] == [shut]
        assert {run.root for run in find_sources([], out=filled.out).runs} == {paths.root for paths in found}


def test_a_misspelt_latest_is_known_as_the_link_that_it_is(tmp_path: Path) -> None:
    """Links were no candidates, so that a folder of another name was suggested."""
    paths = RunPaths(tmp_path / "out" / "quick" / "0123abcd-s0")
    paths.root.mkdir(parents=True)
    paths.log.touch()
    (tmp_path / "out" / "shapes").mkdir()
    paths.point_latest()
    with pytest.raises(UserError, match=rf"Did you mean {tmp_path}/out/quick/latest\? "):
        one_run(str(tmp_path / "out" / "quick" / "lates"))


def test_of_several_places_those_without_runs_are_left_out(tmp_path: Path) -> None:
    run = tmp_path / "12345678-s0"
    run.mkdir()
    (run / "log.jsonl").touch()
    table, plots = tmp_path / "runs.csv", tmp_path / "plots"
    table.touch()
    plots.mkdir()
    told: list[str] = []
    found = some_runs([str(table), str(run), str(plots)], say=told.append)
    assert [paths.root for paths in found] == [run]
    assert told == [f"note: {place} holds no run, and is left out" for place in (table, plots)]
    with pytest.raises(UserError, match="there is no run"):  # a name with a slip in it is no file beside the runs
        some_runs([str(run), str(tmp_path / "12345678-s1")])
    with pytest.raises(UserError):
        some_runs([str(table), str(plots)])
