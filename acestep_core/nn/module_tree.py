"""A second tree of modules over the same weights, whose leaves can be replaced without touching the original."""

from torch import nn

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
# Left on a module by accelerate's hooks: a forward bound to the original, which the copy must not call.
_BOUND = ("forward", "_old_forward", "_hf_hook")


def share(network: nn.Module) -> nn.Module:
    """A copy of the tree: new containers without hooks, with the same leaves, parameters and buffers.

    A module without children is a leaf. Setting an attribute of a container in the copy leaves the original as it is.
    """
    return _shared(network, {})


def _shared(module: nn.Module, known: dict[int, nn.Module]) -> nn.Module:
    if not module._modules:
        return module
    if id(module) in known:  # one module in two places stays one
        return known[id(module)]
    copy = known[id(module)] = type(module).__new__(type(module))
    state = {name: value for name, value in vars(module).items() if name not in _BOUND}
    state |= {name: type(state[name])() for name in _HOOKS if name in state}
    state |= {name: dict(state[name]) for name in ("_parameters", "_buffers")}
    state["_non_persistent_buffers_set"] = set(state["_non_persistent_buffers_set"])
    state["_modules"] = {name: child and _shared(child, known) for name, child in module._modules.items()}
    vars(copy).update(state)
    return copy


def replace(network: nn.Module, path: str, module: nn.Module) -> None:
    """Puts a module at a dotted path such as "layers.3.self_attn.to_q". Raises AttributeError where the path
    does not exist.
    """
    parent, _, name = path.rpartition(".")
    owner = network.get_submodule(parent)
    owner.get_submodule(name)  # raises where there is nothing to replace
    owner._modules[name] = module
