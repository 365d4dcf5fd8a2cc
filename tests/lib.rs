//! The tests of the workspace, in one binary: see `main.rs` beside this file.
