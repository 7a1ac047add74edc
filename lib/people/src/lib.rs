//! Phone numbers to E.164: who was on a call.
