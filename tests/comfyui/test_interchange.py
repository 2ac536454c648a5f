"""Latents shared with core's nodes for ACE-Step 1.5: 64 channels at 25 Hz, random models of the published layout."""

import numpy as np
import pytest
from comfyui_tests import material, prompts, published
from comfyui_tests.listening import hear

SECONDS = 10.0


def song_on_published_models() -> dict:
    """As prompts.text_to_music, all on ComfyUI's split files."""
    models = {slot: published.STAGE for slot in prompts.STAGES}
    parts = {"text_encoder": published.TEXT_ENCODER, "vocoder": published.VOCODER}
    return prompts.changed(prompts.text_to_music(seconds=SECONDS), cascade={**models, **parts})


def heard(comfy, prompt, output="save"):
    run = comfy.run(prompt)
    assert run.succeeded, run.error
    return hear(comfy.view(run.files(output)[0]))


@pytest.fixture(scope="module")
def cores_vocoder(server):
    """Core's nodes read a vocoder of full size only."""
    published.lay_out_full_size_vocoder(server.base / "models")
    return prompts.node("VAELoader", vae_name=f"{published.FULL_SIZE_VOCODER}.safetensors")


def test_stages_take_an_empty_latent_of_core(comfy):
    prompt = song_on_published_models()
    usual = heard(comfy, prompt)
    prompt["latent"] = prompts.node("EmptyAceStep1.5LatentAudio", seconds=SECONDS, batch_size=1)
    assert np.array_equal(heard(comfy, prompt).samples, usual.samples)


def test_stages_refine_what_core_encodes_and_core_decodes_it(comfy, cores_vocoder):
    prompt = song_on_published_models()
    prompt["clip"] = prompts.node("LoadAudio", audio=comfy.upload("acestep-tests-short.wav", material.clip(1.0)))
    prompt["vae"] = cores_vocoder
    prompt["encoded"] = prompts.node("VAEEncodeAudio", audio=["clip", 0], vae=["vae", 0])
    prompt = prompts.changed(prompt, s=prompts.stretch(0.3, 0.0, latent=["encoded", 0]))
    prompt["decoded"] = prompts.node("VAEDecodeAudio", samples=["s", 0], vae=["vae", 0])
    prompt["listen"] = prompts.node("PreviewAudio", audio=["decoded", 0])
    sound = heard(comfy, {name: node for name, node in prompt.items() if name not in ("vocode", "save")}, "listen")
    assert sound.seconds == pytest.approx(1.0, abs=0.1) and not sound.is_silent_in_parts()


def test_a_latent_of_another_family_is_told(comfy):
    prompt = prompts.text_to_music(seed=51)
    prompt["latent"] = prompts.node("EmptyAceStep1.5LatentAudio", seconds=SECONDS, batch_size=1)
    run = comfy.run(prompt)
    assert "tiny-l makes latents of 8 channels, got 64; make empty latents with ACE-Step's Empty Latent" in run.error
