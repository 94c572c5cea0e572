//! The one Llama forward pass, and the engines that run it.
