"""The networks: plain numbers in, plain tensors out, nothing known of runs, recipes, training or disks.

Each is a Restorer: `radius` (neighbours needed on each side), `guides` ("none", "causal" or "both"), and a call from
windows [B, 2*radius+1, H, W] to their centre frames [B, H, W], both in the stabilised domain (noise of deviation 1).
"""
