"""The meter: phases, rehearsals, memory, energy and exclusive use, against clocks and counters that we set."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from types import FunctionType, SimpleNamespace

import pytest
import torch

from bench.api.engine import Engine
from bench.api.part_context import _MeterOf
from bench.check.whole_run import _Rehearsals
from bench.errors import ContractError
from bench.measure import cost, probes
from bench.measure.cost import Meter, device_name, median_cost
from bench.measure.probes import CpuSeconds, GpuBoard, alone, within_threads

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
MIB = 2**20


def rehearsal(meter):
    """Phase `warm`, called by a module of the harness."""
    caller = FunctionType((lambda held: held.warm()).__code__, {"__name__": "bench.training.loop"})
    return caller(meter)


class Clock:
    """Seconds that pass when we say so; on a fake GPU work is queued, and waiting for it lets its seconds pass."""

    def __init__(self) -> None:
        self.now, self.queued = 100.0, 0.0

    def passes(self, seconds: float) -> None:
        self.now += seconds

    def queue(self, seconds: float) -> None:
        self.queued += seconds

    def synchronize(self, device: object = None) -> None:
        self.now, self.queued = self.now + self.queued, 0.0


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


@pytest.fixture
def quiet(monkeypatch):
    """Nobody else computes."""
    monkeypatch.setattr(CpuSeconds, "now", classmethod(lambda cls: cls(0.0, 0.0)))


@pytest.fixture
def gpu(monkeypatch, clock, quiet):
    """A GPU of 200 W that works while the clock runs; `processes` use it."""
    board = SimpleNamespace(processes=1, allocated=5 * MIB)
    error = type("NVMLError", (Exception,), {})
    nvml = SimpleNamespace(
        NVMLError=error,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: int(1000 * 200 * clock.now),
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [None] * board.processes,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "synchronize", clock.synchronize)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: setattr(board, "allocated", 0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: board.allocated)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="0"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Test GPU")
    return board


class TestPhases:
    def test_a_phase_adds_up_and_the_whole_is_more(self, clock):
        with Meter(CPU) as meter:
            for seconds in (1.0, 2.0):
                clock.passes(0.5)
                with meter.phase("fit"):
                    clock.passes(seconds)
        assert meter.cost().phases == {"fit": 3.0}
        assert meter.cost().wall_seconds == 4.0

    def test_a_phase_inside_another_counts_in_both_and_inside_itself_once(self, clock):
        with Meter(CPU) as meter, meter.phase("fit"):
            clock.passes(1.0)
            with meter.phase("inner"), meter.phase("fit"):
                clock.passes(2.0)
            assert meter.seconds("inner") == 2.0
        assert meter.cost().phases == {"inner": 2.0, "fit": 3.0}

    def test_a_phase_that_fails_is_measured_and_can_begin_again(self, clock):
        meter = Meter(CPU)
        with suppress(RuntimeError), meter, meter.phase("fit"):
            clock.passes(1.0)
            raise RuntimeError
        assert (meter.cost().phases, meter.cost().wall_seconds) == ({"fit": 1.0}, 1.0)
        with meter.phase("fit"):
            clock.passes(1.0)
        assert meter.cost().phases == {"fit": 2.0}

    def test_a_rehearsal_is_in_no_other_figure(self, clock):
        with Meter(CPU) as meter, meter.phase("fit"):
            clock.passes(1.0)
            with rehearsal(meter), rehearsal(meter), meter.phase("inner"):
                clock.passes(50.0)
            clock.passes(2.0)
        assert meter.cost().phases == {"warm": 50.0, "fit": 3.0}
        assert meter.cost().wall_seconds == 3.0

    def test_a_rehearsal_that_fails_is_not_charged_either(self, clock):
        meter = Meter(CPU)
        with suppress(RuntimeError), meter:
            clock.passes(1.0)
            with rehearsal(meter):
                clock.passes(5.0)
                raise RuntimeError
        assert (meter.cost().phases, meter.cost().wall_seconds) == ({"warm": 5.0}, 1.0)

    def test_a_plug_in_cannot_declare_its_work_a_rehearsal(self):
        with Meter(CPU) as meter, pytest.raises(ValueError, match="the harness's own"), meter.phase("warm"):
            pass
        for held in (meter, _MeterOf("part", meter), _Rehearsals()):
            with pytest.raises(ContractError, match="warm is for the harness alone"):
                held.warm()
            with rehearsal(held):
                pass


class TestGpu:
    def test_every_reading_waits_for_the_device(self, clock, gpu):
        with Meter(CUDA) as meter:
            clock.queue(3.0)  # before the phase: not its own
            with meter.phase("fit"):
                clock.queue(5.0)
            clock.queue(7.0)
        assert meter.cost().phases == {"fit": 5.0}
        assert meter.cost().wall_seconds == 15.0

    def test_energy_is_counted_by_phase_like_the_seconds(self, clock, gpu):
        with Meter(CUDA) as meter:
            clock.queue(1.0)
            with meter.phase("fit"):
                with rehearsal(meter):
                    clock.queue(10.0)
                clock.queue(2.0)
            with meter.phase("evaluate"):
                clock.queue(4.0)
        found = meter.cost()
        assert found.phase_joules == pytest.approx({"warm": 2000, "fit": 400, "evaluate": 800})
        assert found.energy_joules == pytest.approx(1400)
        assert found.wall_seconds == 7.0

    def test_without_energy_and_processes_they_are_unknown(self, monkeypatch, clock, gpu):
        def refuse(handle: object) -> None:
            raise sys.modules["pynvml"].NVMLError

        monkeypatch.setattr(sys.modules["pynvml"], "nvmlDeviceGetTotalEnergyConsumption", refuse)
        monkeypatch.setattr(sys.modules["pynvml"], "nvmlDeviceGetComputeRunningProcesses", refuse)
        with Meter(CUDA) as meter, meter.phase("fit"):
            clock.queue(1.0)
        found = meter.cost()
        assert (found.energy_joules, found.phase_joules, found.exclusive) == (None, {}, None)

    def test_peak_memory_is_that_of_the_stage(self, gpu):
        with Meter(CUDA) as meter:
            gpu.allocated = max(gpu.allocated, 3 * MIB)
        assert meter.cost().peak_gpu_bytes == 3 * MIB

    @pytest.mark.parametrize(("processes", "exclusive"), [(1, True), (2, False), (0, None)])
    def test_other_processes_on_the_gpu(self, gpu, processes, exclusive):
        gpu.processes = processes
        with Meter(CUDA) as meter:
            pass
        assert meter.cost().exclusive is exclusive

    def test_a_process_that_comes_and_goes_is_seen_between_phases(self, gpu):
        with Meter(CUDA) as meter:
            with meter.phase("fit"):
                gpu.processes = 2
            gpu.processes = 1
        assert meter.cost().exclusive is False

    def test_contention_for_the_processors_counts_on_a_gpu_too(self, monkeypatch, clock, gpu):
        readings = iter([CpuSeconds(10.0, 5.0), CpuSeconds(11.0, 6.0)])
        monkeypatch.setattr(CpuSeconds, "now", classmethod(lambda cls: next(readings)))
        with Meter(CUDA) as meter:
            clock.passes(1.0)
        assert meter.cost().exclusive is False

    def test_the_name_of_a_gpu_has_its_processor(self, gpu):
        name = device_name(CUDA, Engine(deterministic=True))
        assert name == f"Test GPU, {device_name(CPU)}, float32, deterministic"
        assert device_name(CPU).endswith(f", {torch.get_num_threads()} threads")

    def test_without_nvml_the_board_is_unknown(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pynvml", None)
        assert GpuBoard.open(CUDA) is None


class TestHostMemory:
    @pytest.mark.parametrize("sizes", [(10, 100, 400), (400, 100, 10)])
    def test_a_stage_of_known_size_is_measured_whatever_came_before(self, sizes):
        for size in sizes:
            with Meter(CPU) as meter:
                torch.ones(size * MIB, dtype=torch.uint8)
            found = meter.cost().peak_host_bytes
            if found is None:
                pytest.skip("this system does not tell the peak of resident memory (/proc/self/clear_refs)")
            # A test process with many threads and modules touches some MiB of its own meanwhile.
            assert found / MIB == pytest.approx(size, abs=4 + 0.05 * size)

    def test_freed_heap_that_is_used_again_counts(self):
        """Blocks too small to be mapped one by one: the C library keeps them when they are freed."""

        def blocks() -> list[torch.Tensor]:
            return [torch.ones(64 * 2**10, dtype=torch.uint8) for _ in range(50 * 16)]

        freed, last = blocks(), torch.ones(64 * 2**10, dtype=torch.uint8)  # the last one keeps the heap from shrinking
        freed.clear()
        with Meter(CPU) as meter:
            blocks()
        del last
        found = meter.cost().peak_host_bytes
        if found is None:
            pytest.skip("this system does not tell the peak of resident memory (/proc/self/clear_refs)")
        assert found / MIB == pytest.approx(50, abs=5)

    def test_where_the_system_does_not_tell_it_is_unknown(self, monkeypatch):
        monkeypatch.setattr(probes, "_reset_peak", lambda: False)
        with Meter(CPU) as meter:
            pass
        assert meter.cost().peak_host_bytes is None


class TestExclusive:
    @pytest.mark.parametrize(
        ("others", "own", "wall", "processors", "expected"),
        [
            (0.0, 1.0, 1.0, 2, True),
            (0.11, 1.0, 1.0, 2, True),  # a monitor, and rounding
            (0.2, 1.0, 1.0, 2, False),
            (1.0, 1.0, 1.0, 1, False),
            (1.0, 16.0, 1.0, 16, False),  # one process beside sixteen busy threads
            (60.0, 60.0, 60.0, 128, False),
            (3.0, 60.0, 60.0, 2, True),
            (6.0, 60.0, 60.0, 2, False),
            (0.01, 0.01, 0.01, 2, True),  # too short for the counters to say more
            (0.4, 0.1, 5.0, 16, True),  # a hundredth of sixteen cores
            (-0.1, 16.0, 1.0, 16, True),  # rounding
            (-16.0, 16.0, 1.0, 16, None),  # counters that stand still
        ],
    )
    def test_who_is_alone(self, others, own, wall, processors, expected):
        assert alone(CpuSeconds(others, own), wall, processors) is expected

    def test_with_nobody_else_a_stage_is_exclusive(self, quiet, clock):
        with Meter(CPU) as meter:
            clock.passes(1.0)
        assert meter.cost().exclusive is True

    def test_a_real_process_that_competes_is_seen(self):
        """It is no child of ours: a shell that ends leaves it behind."""
        busy = f"{sys.executable} -S -c 'while True: pass' >/dev/null 2>&1 & echo $!"
        process = int(subprocess.run(["sh", "-c", busy], capture_output=True, text=True, check=True).stdout)
        try:
            with Meter(CPU) as meter:
                _compute(0.5)
        finally:
            os.kill(process, signal.SIGKILL)
        assert meter.cost().exclusive is False

    def test_our_own_children_are_not_others(self, monkeypatch):
        """What the system counts beyond us does not grow by a child's work, running or ended."""
        monkeypatch.setattr(probes.psutil, "cpu_times", lambda percpu: [(0.0, 0.0, 0.0, 0.0)])
        before = CpuSeconds.now()
        child = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
        try:
            while sum(probes.psutil.Process(child.pid).cpu_times()[:2]) < 0.2:
                _compute(0.01)
            running = (CpuSeconds.now() - before).own
        finally:
            child.kill()
            child.wait()
        assert running >= 0.2
        assert (CpuSeconds.now() - before).own >= running - 1e-6


def _compute(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_the_first_optimizer_of_a_process_is_not_charged():
    """A plug-in with a training loop of its own, which comes first in its process."""
    code = (
        "import sys, torch\nfrom bench.measure.cost import Meter\nbefore = 'torch._dynamo' in sys.modules\n"
        "with Meter(torch.device('cpu')):\n    during = 'torch._dynamo' in sys.modules\nprint(before, during)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "True"]


@pytest.mark.parametrize(
    ("own", "threads", "exclusive"),
    [(2.4, 1, True), (2.6, 1, False), (4.9, 2, True), (5.1, 2, False), (8.0, 4, True)],
)
def test_a_stage_that_uses_more_threads_than_its_name_says_is_marked(clock, monkeypatch, own, threads, exclusive):
    now = iter([CpuSeconds(0.0, 0.0), CpuSeconds(0.0, own)])
    monkeypatch.setattr(CpuSeconds, "now", classmethod(lambda cls: next(now)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    with Meter(CPU) as meter:
        clock.passes(2.0)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # put back within the stage
    assert meter.cost().exclusive is exclusive


def test_a_short_stage_is_not_measured_in_threads():
    assert within_threads(CpuSeconds(0.0, 0.9), 0.1, 1)


class TestRepeats:
    @pytest.mark.parametrize(
        ("seconds", "asked", "again"),
        [
            ([0.4], 1, True),
            ([0.4, 0.4], 1, True),
            ([0.4, 0.4, 0.4], 1, False),  # a second
            ([0.01] * 4, 1, True),
            ([0.01] * 5, 1, False),  # five times
            ([0.01] * 5, 7, True),
            ([9.0], 1, False),
            ([9.0], 3, True),
            ([9.0] * 3, 3, False),
        ],
    )
    def test_short_stages_are_repeated_and_long_ones_if_asked(self, seconds, asked, again):
        assert cost.another_run(seconds, asked) is again

    def test_the_median_run_counts_and_every_run_is_kept(self, clock, quiet):
        runs = []
        for seconds, warm in ((5.0, 50.0), (1.0, 2.0), (3.0, 2.0)):
            with Meter(CPU) as meter:
                with rehearsal(meter):
                    clock.passes(warm)
                with meter.phase("apply"):
                    clock.passes(seconds)
            runs.append(replace(meter.cost(), peak_host_bytes=int(seconds), exclusive=seconds < 5))
        found = median_cost(runs)
        assert (found.wall_seconds, found.repeats) == (3.0, [5.0, 1.0, 3.0])
        assert found.phases == {"warm": 50.0, "apply": 3.0}
        assert (found.peak_host_bytes, found.exclusive) == (5, False)
        assert median_cost(runs[1:]).wall_seconds == 1.0

    @pytest.mark.parametrize(
        ("seconds", "charged"),
        [([0.3, 0.0, 0.0], 0.3), ([0.6, 0.3, 0.4], 0.4), ([0.1, 0.01, 0.01], 0.01), ([0.01, 0.01, 0.3], 0.01)],
    )
    def test_a_first_run_that_works_for_the_later_ones_is_charged(self, clock, quiet, seconds, charged):
        runs = []
        for each in seconds:
            with Meter(CPU) as meter:
                clock.passes(each)
            runs.append(meter.cost())
        found = median_cost(runs)
        assert (found.wall_seconds, found.pays_once) == (charged, charged == 0.3)
