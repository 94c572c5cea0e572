//! Element formats, scale formats, scale rules, roundings, dialects and packing:
//! types and scalar codecs, no loops over tensors.
