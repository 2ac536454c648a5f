"""The workflows, from the first that one opens to the last: name of the file -> what makes its definition."""

from workflows_tests import definitions, edits, planning

WORKFLOWS = {
    f"{number:02}_{make.__name__}": make
    for number, make in enumerate(
        (
            definitions.text_to_music,
            definitions.listen_after_each_stage,
            definitions.four_seeds_at_once,
            definitions.sound_of_a_clip,
            definitions.continue_a_clip,
            definitions.refine_a_clip,
            definitions.music_for_a_video,
            definitions.song_with_a_lora,
            definitions.with_and_without_a_lora,
            definitions.train_a_lora,
            definitions.one_model_alone,
            definitions.text_to_music_app,
            edits.repaint_a_region,
            edits.fix_one_line_of_the_lyrics,
            edits.extend_both_ways,
            edits.four_variations,
            edits.cover_a_clip,
            edits.cover_a_melody,
            edits.all_stems_of_a_song,
            edits.add_a_bass,
            edits.accompany_a_voice,
            edits.morph_the_words,
            planning.best_of_eight,
            planning.song_from_one_line,
            planning.plan_and_edit,
            planning.understand_and_cover,
            planning.lyrics_with_timestamps,
        ),
        start=1,
    )
}
