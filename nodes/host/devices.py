"""Networks under ComfyUI's memory management: each sits in a ModelPatcher, is loaded before every use, and may be
evicted between two uses.
"""

from dataclasses import dataclass

import comfy.model_management as management
import comfy.model_patcher
import torch

from ...acestep_core.memory.free import free_main_memory
from ...acestep_core.memory.oom_fallback import OomFallback
from ...acestep_core.memory.plan import LAYERS, Plan
from ...acestep_core.nn.dtypes import DTYPES, suitable_dtype, warn_if_emulated
from ...acestep_core.nn.quantise import stored
from ...acestep_core.system.threads import fit_threads

SHARE_OF_A_NETWORK = 0.3  # of free memory; the cascade's other networks and activations need the rest


class _Holder(torch.nn.Module):
    """A module whose `device` ModelPatcher can set; networks of diffusers and transformers have a read-only one."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network, self.device = network, None


def weights_for_all() -> torch.inference_mode:
    """Nodes run in inference mode; weights that are loaded or moved in it could never be trained."""
    return torch.inference_mode(False)


class _Patcher(comfy.model_patcher.ModelPatcher):
    """A patcher for a network that is on a device whole or not at all. `size` is its bytes there; ComfyUI would sum up
    the state dict, which is wrong for weights in 8 bits.
    """

    def loaded_size(self) -> int:
        return self.size if super().loaded_size() else 0

    def partially_unload(self, device_to, memory_to_free=0, force_patch_weights=False) -> int:
        """Frees no bytes, so that ComfyUI evicts the whole network instead."""
        return 0


@dataclass(frozen=True)
class Managed:
    """A network under ComfyUI's memory management."""

    patcher: comfy.model_patcher.ModelPatcher

    def load(self, activation_bytes: float) -> None:
        """Loads the whole network onto its compute device and keeps `activation_bytes` free there. Call it before every
        use: ComfyUI may have evicted the network for another one.
        """
        load_together((self,), activation_bytes)

    @property
    def is_in_place(self) -> bool:
        """Whether the network is on its compute device, not on its offload device."""
        return next(self.patcher.model.parameters()).device.type == self.patcher.load_device.type


def load_together(networks: "tuple[Managed, ...]", activation_bytes: float) -> None:
    """Managed.load for several networks that are used by turns: none of them evicts another one."""
    patchers = [network.patcher for network in networks]
    if any(patcher.load_device.type == "cpu" for patcher in patchers):
        fit_threads()
    # Plain layers cannot be split between devices, hence the full load.
    with weights_for_all():
        management.load_models_gpu(patchers, memory_required=activation_bytes, force_full_load=True)


def stage_device() -> torch.device:
    """Where stages are computed."""
    return management.get_torch_device()


def manage(network: torch.nn.Module, kind: str) -> Managed:
    """A network that lies on the CPU -> one that ComfyUI places. `kind`: "stage", "text" or "vocoder"."""
    device, rest = {
        "stage": (stage_device, management.unet_offload_device),
        "text": (management.text_encoder_device, management.text_encoder_offload_device),
        "vocoder": (management.vae_device, management.vae_offload_device),
    }[kind]
    # ComfyUI counts a state dict; adapters are buffers that no state dict holds.
    size = sum(part.nbytes for weight in (*network.parameters(), *network.buffers()) for part in stored(weight))
    # Not CoreModelPatcher: its dynamic form would keep plain layers in video memory beside an image model.
    return Managed(_Patcher(_Holder(network.eval()), device(), rest(), size))


def free_unused() -> None:
    """Returns unused memory to the device."""
    management.soft_empty_cache()


class NodeOomFallback(OomFallback):
    """Runs a node's work. If memory runs out, it evicts every other model, then retries under a smaller plan."""

    def can_use(self, plan: Plan) -> bool:
        return plan.holds != LAYERS  # ComfyUI places whole networks

    def make_room(self, plan: Plan) -> None:
        with weights_for_all():
            management.unload_all_models()
        management.soft_empty_cache()


def device_gigabytes() -> int:
    """Memory of the device that stages compute on: a GPU's own, else the machine's."""
    return round(management.get_total_memory(management.get_torch_device()) / 2**30)


def stage_dtype(name: str, parameters: int) -> torch.dtype | None:
    """The dtype of a widget; "auto" is ComfyUI's dtype for image models. On a CPU it is the file's own, or
    float32 where the CPU has no instructions for bfloat16 and there is memory enough.
    """
    named = DTYPES.get(name)
    device = management.get_torch_device()
    if named is None and not management.is_device_cpu(device):
        return management.unet_dtype(device, parameters, supported_dtypes=[torch.bfloat16, torch.float32])
    fits = parameters * torch.float32.itemsize <= free_main_memory() * SHARE_OF_A_NETWORK
    return suitable_dtype(device, named, fits)


def vocoder_dtype(name: str) -> torch.dtype:
    """The dtype of a widget; "auto" is float32, or bfloat16 where ComfyUI was started with --bf16-vae."""
    if name == "auto":
        for_vaes = management.vae_dtype(management.vae_device())
        return for_vaes if for_vaes == torch.bfloat16 else torch.float32
    dtype = torch.bfloat16 if name == "bf16" else torch.float32
    warn_if_emulated(management.vae_device(), dtype)
    return dtype
