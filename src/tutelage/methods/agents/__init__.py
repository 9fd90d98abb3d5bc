"""Teaching at inference time: frozen chat models are taught by explanations, plans and memories in their prompts."""
