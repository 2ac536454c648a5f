"""What a training writes beside its adapter or model for people and for the hub."""

import re
import shlex

import pytest
from acestep_pack.acestep_core.training.model_card import MARK, adapter_card, card_path, student_card, write_card
from huggingface_hub import ModelCard


@pytest.mark.parametrize("name, card", [("style", "style/README.md"), ("style.safetensors", "style.md")])
def test_a_card_lies_beside_what_it_describes(name, card, tmp_path):
    assert card_path(tmp_path / name) == tmp_path / card


def test_the_hub_reads_an_adapters_card(tmp_path):
    facts = {"clips": "12 | 1 held out", "learning rate": 1e-4, "lowest loss": None}
    card = ModelCard(adapter_card(tmp_path / "style", "LoRA", "acestep-v15-turbo", "my: style", facts))
    assert card.data.base_model == "ACE-Step/Ace-Step1.5" and card.data.base_model_relation == "adapter"
    assert (card.data.library_name, card.data.pipeline_tag) == ("peft", "text-to-audio")
    assert card.data.instance_prompt == "my: style" and "lora" in card.data.tags
    assert "| clips | 12 \\| 1 held out |" in card.text and "| learning rate | 0.0001 |" in card.text
    assert "lowest loss" not in card.text and '"my: style, warm piano"' in card.text


@pytest.mark.parametrize("trigger", ['a "quoted" word', "$HOME and `date`", "it's", "plain"])
def test_the_command_of_a_card_says_what_it_means(trigger, tmp_path):
    card = adapter_card(tmp_path / "my style.safetensors", "LoRA", "acestep-v15-turbo", trigger, {})
    command = shlex.split(re.search(r"```bash\n(.*)\n```", card)[1])
    assert command[2] == f"{trigger}, warm piano" and "M=my style.safetensors" in command
    assert ('"plain, warm piano"' in card) == (trigger == "plain")


def test_a_base_that_no_hub_knows_is_named_in_the_text_alone(tmp_path):
    card = ModelCard(student_card(tmp_path / "my-s", "my-own-model", {"steps": 10}))
    assert "base_model" not in card.data.to_dict() and "`my-own-model`" in card.text


def test_a_card_that_its_user_took_over_stays(tmp_path):
    target = tmp_path / "style"
    target.mkdir()
    write_card(target, "first")
    path = write_card(target, "second")
    assert path.read_text().startswith("second")
    path.write_text(path.read_text().replace(MARK, "Mine."))
    write_card(target, "third")
    assert path.read_text() == "second\nMine.\n"
