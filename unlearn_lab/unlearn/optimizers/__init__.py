"""Update rules: which weights a step moves (SURE's saliency mask) and how they are rounded."""
