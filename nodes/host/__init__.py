"""ComfyUI, seen from this pack: the only folder that imports comfy, folder_paths or server."""
