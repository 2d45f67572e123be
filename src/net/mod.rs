//! Addresses, sockets and their options.
