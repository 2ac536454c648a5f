"""Colours and shapes of the page. Fonts are those of the visitor's system: none is fetched."""

import gradio as gr

_SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

THEME = gr.themes.Base(
    primary_hue="violet",
    secondary_hue="violet",
    neutral_hue="zinc",
    radius_size="lg",
    spacing_size="md",
    font=_SANS,
    font_mono=_MONO,
).set(
    body_background_fill="*neutral_50",
    body_background_fill_dark="#101014",
    block_background_fill="white",
    block_background_fill_dark="#18181d",
    block_border_color="*neutral_200",
    block_border_color_dark="#2a2a32",
    block_label_background_fill="transparent",
    block_label_background_fill_dark="transparent",
    block_label_border_width="0px",
    block_title_text_weight="550",
    body_text_color_subdued="*neutral_500",
    body_text_color_subdued_dark="*neutral_400",
    block_info_text_color="*neutral_500",
    block_info_text_color_dark="*neutral_400",
    block_title_text_color="*neutral_700",
    block_title_text_color_dark="*neutral_200",
    input_placeholder_color="*neutral_400",
    input_placeholder_color_dark="*neutral_500",
    block_shadow="none",
    input_background_fill="*neutral_50",
    input_background_fill_dark="#101014",
    input_border_color="*neutral_200",
    input_border_color_dark="#2f2f38",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_500",
    button_primary_background_fill_dark="*primary_600",
    button_primary_background_fill_hover_dark="*primary_500",
    button_primary_text_color="white",
    button_large_radius="*radius_lg",
)
