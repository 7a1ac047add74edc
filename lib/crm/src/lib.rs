//! Destinations: formats, signing, delivery, and what an answer means.
