"""Where we compute: what is chosen, what is refused, and how running out of memory is told."""

import pytest
import torch

from FluoroDenoiseLib import compute
from FluoroDenoiseLib.compute import Compute, choose, describe, is_out_of_memory
from FluoroDenoiseLib.errors import ResourceError, UnsupportedError


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)


def test_without_a_gpu_the_cpu_is_chosen_and_the_reason_said(no_gpu):
    assert choose() == Compute("cpu", "float32", "CPU, because torch was built without CUDA.")


def test_a_gpu_without_a_driver_is_said_in_other_words(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose().reason == "CPU, because no NVIDIA driver answers."


def test_hidden_gpus_are_named_as_hidden(monkeypatch):
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert choose().reason == "CPU, because CUDA_VISIBLE_DEVICES hides every GPU."


def test_a_gpu_asked_for_by_name_is_never_replaced_by_the_cpu(no_gpu):
    for device in ("cuda", "cuda:0", "cuda:7"):
        with pytest.raises(ResourceError, match="without CUDA; use auto or cpu"):
            choose(device)


def test_a_gpu_that_is_not_there_is_refused_by_its_number(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ResourceError, match="there is only one GPU, cuda:0"):
        choose("cuda:1")


def test_processes_on_one_machine_each_want_a_gpu_of_their_own(monkeypatch):
    usable = [None, "there is only one GPU, cuda:0"]
    monkeypatch.setattr(compute, "_why_unusable", lambda index: usable[index])
    monkeypatch.setattr(compute, "_on_gpu", lambda index, precision: Compute(f"cuda:{index}", "float16", "a stand-in"))
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert choose().device == choose("cuda").device == "cuda:0" and "nccl" in choose().collectives
    monkeypatch.setenv("LOCAL_RANK", "1")
    for device in ("auto", "cuda"):
        with pytest.raises(ResourceError, match="Process 1 has no GPU .* as many processes as there are GPUs"):
            choose(device)
    assert choose("cpu").collectives == "gloo"


@pytest.mark.parametrize("device", ["gpu", "cuda:first", "mps", ""])
def test_a_device_we_do_not_know_is_refused_with_those_we_do(device):
    with pytest.raises(UnsupportedError, match="use auto, cpu or cuda:0"):
        choose(device)


def test_a_precision_we_do_not_know_is_refused_with_those_we_do():
    with pytest.raises(UnsupportedError, match="float32, bfloat16, float16"):
        choose("cpu", "float64")


@pytest.mark.parametrize("precision", compute.PRECISIONS)
def test_a_convolution_runs_at_the_precision_chosen(precision):
    with choose("cpu", precision).autocast():
        assert torch.nn.Conv2d(1, 1, 3)(torch.zeros(1, 1, 8, 8)).dtype == getattr(torch, precision)


def test_a_real_allocation_that_cannot_succeed_counts_as_out_of_memory():
    with pytest.raises(RuntimeError) as failed:
        torch.empty(2**50)
    assert is_out_of_memory(failed.value)


def test_only_memory_errors_count_as_out_of_memory():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory.")) and is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    assert not is_out_of_memory(RuntimeError("shapes do not match")) and not is_out_of_memory(ValueError("out of memory"))


def test_the_cpu_has_memory_left_and_has_nothing_to_wait_for():
    cpu = choose("cpu")
    assert cpu.torch_device == torch.device("cpu") and cpu.memory_free_bytes() > 2**20
    cpu.synchronize()


def test_the_probe_lists_the_cpu_first_and_says_why_there_is_no_gpu(no_gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    devices = describe()
    assert [device["device"] for device in devices] == ["cpu"]
    assert "no GPU, because torch was built without CUDA" in devices[0]["note"]
    assert devices[0]["memory_bytes"] >= devices[0]["memory_free_bytes"] > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu_float16_is_chosen_and_float32_is_exact():
    gpu = choose()
    assert gpu.precision == "float16" and gpu.torch_device.type == "cuda" and gpu.memory_free_bytes() > 0
    images, conv = torch.randn(1, 64, 32, 32), torch.nn.Conv2d(64, 64, 3)
    with torch.no_grad(), choose("cuda", "float32").autocast():
        on_gpu = conv.cuda()(images.cuda()).cpu()
    # TF32 would differ by about 1e-3, float32 by rounding alone.
    assert torch.allclose(on_gpu, conv.cpu()(images), atol=1e-5)
