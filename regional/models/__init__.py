"""Which loaded model serves which members, what the host prepares for them, and their LoRA terms."""
