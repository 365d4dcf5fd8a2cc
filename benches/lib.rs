//! Benchmarks of ergometer; see the files beside this one.
