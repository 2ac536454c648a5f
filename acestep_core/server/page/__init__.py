"""The page of the server, with Gradio: forms that make the same requests as the API's clients send."""
