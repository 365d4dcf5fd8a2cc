//! What the adapter says of itself, in manifests and documents.

use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Module, Result, Tensor, Var, utils};
use candle_nn::{LayerNorm, ops};
use ergometer::sensor::Hardware;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn the_manifest_names_candle_its_version_and_device() {
    let home = tempfile::TempDir::new().unwrap();
    let meter = ergometer_candle::meter(&Device::Cpu).unwrap();
    assert!(meter.sensors().all(|sensor| sensor.domain.hardware != Hardware::Gpu));
    let run = meter.run("none").directory(home.path()).start().unwrap();
    let framework = run.finish().unwrap().manifest.framework.unwrap();
    assert_eq!((&*framework.name, framework.device.as_deref()), ("candle", Some("cpu (gemm)")));
    assert_eq!(framework.threads, Some(utils::get_num_threads()));

    let lock = fs::read_to_string(Path::new(HERE).join("../../Cargo.lock")).unwrap();
    let resolved = |name: &str| {
        let entry = format!("name = \"{name}\"\nversion = \"");
        lock.split(&entry).nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned()
    };
    assert_eq!(
        [resolved("candle-core"), resolved("candle-nn")],
        [framework.version.clone(), framework.version]
    );
}

#[test]
fn a_device_named_twice_is_one_device() {
    let meter = |devices: &[Device]| {
        ergometer_candle::meter_of(devices).map(|meter| meter.sensors().count())
    };
    let one = meter(&[Device::Cpu]).unwrap();
    assert_eq!(meter(&[Device::Cpu, Device::Cpu]).unwrap(), one);
    assert!(meter(&[]).unwrap_err().to_string().contains("no device is named"));
}

/// The lines that a diff in the README adds or leaves are those of the program that `mnist.rs` compiles and runs.
#[test]
fn the_readmes_diff_is_the_program_that_is_tested() {
    let readme = fs::read_to_string(Path::new(HERE).join("README.md")).unwrap();
    let program: Vec<_> = include_str!("mnist.rs").lines().map(str::trim).collect();
    let mut diffs = readme.split("```diff\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let needed = diffs.next().unwrap();
    assert!(needed.lines().filter(|line| line.starts_with('+')).count() <= 3, "{needed}");
    for diff in [needed].into_iter().chain(diffs) {
        let mut from = 0;
        for line in diff.lines().filter(|line| !line.starts_with('-')) {
            let wanted = line.trim_start_matches('+').trim();
            if wanted == "…" {
                continue;
            }
            let found = program[from..].iter().position(|line| *line == wanted);
            from += found.unwrap_or_else(|| panic!("`{wanted}` is not in the tested program")) + 1;
        }
    }
}

/// The README warns of layers that no gradient passes; the warning goes when candle mends them.
#[test]
fn gradients_stop_at_the_fast_layer_norm() {
    let reaches = |norm: &dyn Fn(&Tensor) -> Result<Tensor>| -> Result<bool> {
        let input = Var::ones((2, 4), DType::F32, &Device::Cpu)?;
        let gradients = norm(input.as_tensor())?.sum_all()?.backward()?;
        Ok(gradients.get(&input).is_some())
    };
    let weight = Tensor::ones(4, DType::F32, &Device::Cpu).unwrap();
    let layer = LayerNorm::new(weight.clone(), weight.clone(), 1e-5);
    assert!(!reaches(&|input| layer.forward(input)).unwrap());
    assert!(!reaches(&|input| ops::softmax_last_dim(input)).unwrap());
    assert!(
        !reaches(&|input| candle_nn::RmsNorm::new(weight.clone(), 1e-5).forward(input)).unwrap()
    );
    assert!(reaches(&|input| ops::layer_norm_slow(input, &weight, &weight, 1e-5)).unwrap());
    assert!(reaches(&|input| ops::rms_norm_slow(input, &weight, 1e-5)).unwrap());
    assert!(reaches(&|input| ops::softmax(input, 1)).unwrap());
}
