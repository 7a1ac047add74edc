//! Phone and voice-AI systems: authenticate, parse, map to updates.
