"""What the FluoroDenoise module does to the scene, and how it talks to the process that denoises; imports nothing."""
