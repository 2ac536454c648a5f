"""Our networks as diffusers' own, whose modules compute by themselves, and the packing of batches with padding."""

import warnings

import torch
from acestep_pack.acestep_core.models.condition import encode_timbre
from acestep_pack.acestep_core.system.torchaudio_import import settle_torchaudio

settle_torchaudio()

import diffusers
from diffusers.pipelines import ace_step

_KINDS = {
    "Transformer": lambda: diffusers.AceStepTransformer1DModel,
    "ConditionEncoder": lambda: ace_step.AceStepConditionEncoder,
    "Autoencoder": lambda: diffusers.AutoencoderOobleck,
}


def in_diffusers(network):
    """diffusers' network with the config and the weights of one of ours; one of diffusers' as it is."""
    kind = _KINDS.get(type(network).__name__)
    if kind is None:
        return network
    config = dict(network.config)
    reaches = {vars(module).get("sliding_window") for module in network.modules()} - {None}  # tests change it
    if reaches:
        config["sliding_window"] = reaches.pop()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # its Oobleck uses torch's older weight norm
        made = kind()(**config)
    if hasattr(network, "silence_latent"):
        made.silence_latent = network.silence_latent
    made.load_state_dict(network.state_dict())
    return made.to(network.dtype).eval().requires_grad_(False)


def pack_condition(encoder, text, text_mask, lyrics, lyrics_mask, timbre, timbre_item, *, timbre_token):
    """Packed states [B, L, D] and their mask [B, L] of a batch with padding: tokens first, padding last.

    `timbre` [clips of all items, C, F] with the item that each belongs to. `timbre_token`: whether the model (family
    "xl") puts its special token before each clip and pools there, or pools the first frame.
    """
    encoder = in_diffusers(encoder)
    timbre = encode_timbre(encoder.timbre_encoder, timbre, timbre_token)
    lyrics = encoder.lyric_encoder(inputs_embeds=lyrics, attention_mask=lyrics_mask)
    timbre, timbre_mask = encoder.timbre_encoder.unpack_timbre_embeddings(timbre, timbre_item)
    states, mask = _pack(lyrics, lyrics_mask, timbre, timbre_mask.bool())
    return _pack(states, mask, encoder.text_projector(text), text_mask)


def _pack(first, first_mask, second, second_mask):
    states, mask = torch.cat([first, second], dim=1), torch.cat([first_mask, second_mask], dim=1)
    order = mask.int().argsort(dim=1, descending=True, stable=True)
    return states.gather(1, order[..., None].expand_as(states)), mask.gather(1, order)
