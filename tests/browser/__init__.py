"""What a person sees and does, in a real JupyterLab and a real Chromium."""
