//! Jobs on SQS: small pointers to work that is due.
