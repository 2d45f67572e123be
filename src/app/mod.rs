//! The program `vansire`: configuration, pages, files and the access log.
//!
//! Not a part of the library's promise: it may change in any release.

pub mod access;
pub mod config;
pub mod files;
pub mod pages;
pub mod reach;
