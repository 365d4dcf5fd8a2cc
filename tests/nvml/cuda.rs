//! Which GPUs a CUDA program uses: by ordinal and by `CUDA_VISIBLE_DEVICES`, on stub libraries.

use std::time::Duration;

use ergometer::sensor::nvml::cuda::{initialised, pci_address};
use ergometer::sensor::nvml::{Visibility, open, open_within};
use ergometer::sensor::{Found, Selection};

use super::{ids, pair};
use crate::stub::{Cuda, Driver, Gpu, Nvml};

/// What is found as visible to CUDA.
fn see(stub: &Nvml, visibility: &Visibility) -> Found {
    open_within(Duration::from_secs(5), Some(&stub.path()), &Selection::Visible, visibility)
}

#[test]
fn only_visible_gpus_are_measured_and_the_others_named() {
    let [first, second] = pair();
    let stub = Nvml::of([Gpu { instances: 2, ..first }, second]);
    let visible = |list: &str| {
        let devices = Some(list.to_owned());
        see(&stub, &Visibility { devices, ..Visibility::default() })
    };
    let found = visible("GPU-b");
    assert_eq!(ids(&found), ["gpu:GPU-b"]);
    assert_eq!(found.absent[0].source, "1 other GPUs");
    assert!(
        found.absent[0].error.what().contains("`CUDA_VISIBLE_DEVICES` is `GPU-b`"),
        "{found:?}"
    );
    assert_eq!(ids(&visible("MIG-a-2")), ["gpu:GPU-a"]);
    assert_eq!(ids(&visible("MIG-GPU-a/2/0")), ["gpu:GPU-a"]);
    assert_eq!(ids(&visible("GPU-b,GPU-a")), ["gpu:GPU-b", "gpu:GPU-a"]);

    let unknown = visible("GPU-b,GPU-x,GPU-a");
    assert_eq!(ids(&unknown), ["gpu:GPU-b"]);
    assert!(unknown.absent[0].error.what().contains("`GPU-x`"), "{unknown:?}");
    assert_eq!(unknown.absent[0].source, "CUDA_VISIBLE_DEVICES");
    let none = visible("-1");
    assert!(none.sensors.is_empty() && none.absent.is_empty(), "{none:?}");
    assert_eq!(ids(&see(&stub, &Visibility::default())), ["gpu:GPU-a", "gpu:GPU-b"]);
}

#[test]
fn an_index_is_one_of_cudas_where_the_driver_can_be_asked() {
    let [first, second] = pair();
    let slow = Gpu { name: "NVIDIA T4".to_owned(), ..first };
    let stub = Nvml::of([slow, second]);
    let devices = vec!["0000:65:00.0".to_owned(), "0000:17:00.0".to_owned()];
    let library =
        Cuda::new(&Driver { devices, visible: Some("0".to_owned()), ..Driver::default() });
    let first = |driver: Option<Vec<String>>| {
        let devices = Some("0".to_owned());
        see(&stub, &Visibility { devices, driver, ..Visibility::default() })
    };
    // A driver that the program has not loaded or not initialised is left alone.
    assert_eq!(initialised(Some(&library.path())), None);
    let unknown = first(None);
    assert_eq!(ids(&unknown), ["gpu:GPU-a", "gpu:GPU-b"]);
    assert!(unknown.absent[0].error.what().contains("fastest GPU first"), "{unknown:?}");

    pci_address(Some(&library.path()), 0).unwrap();
    let asked = initialised(Some(&library.path()));
    assert_eq!(asked.as_deref(), Some(&["0000:65:00.0".to_owned()][..]));
    assert_eq!(ids(&first(asked)), ["gpu:GPU-b"]);
}

#[test]
fn a_cuda_ordinal_finds_its_gpu_whatever_the_order() {
    let stub = Nvml::of(pair());
    let devices = vec!["0000:65:00.0".to_owned(), "0000:17:00.0".to_owned()];
    let first = |visible: Option<&str>| {
        let driver = Driver {
            devices: devices.clone(),
            visible: visible.map(str::to_owned),
            ..Driver::default()
        };
        let address = pci_address(Some(&Cuda::new(&driver).path()), 0).unwrap();
        ids(&open(Some(&stub.path()), &Selection::Pci(vec![address]))).concat()
    };
    // The driver puts the fastest first, where NVML goes by address; the user's list permutes that again.
    assert_eq!(first(None), "gpu:GPU-b");
    assert_eq!(first(Some("1,0")), "gpu:GPU-a");
    assert_eq!(first(Some("1")), "gpu:GPU-a");
}

#[test]
fn each_failure_of_cuda_has_its_own_cure() {
    let devices = vec!["0000:17:00.0".to_owned()];
    let ask = |driver: Driver, ordinal| {
        pci_address(Some(&Cuda::new(&driver).path()), ordinal).unwrap_err()
    };

    let hidden = ask(Driver { devices: devices.clone(), visible: Some(String::new()), init: 0 }, 0);
    assert!(hidden.is_absent() && hidden.what().contains("CUDA_VISIBLE_DEVICES"), "{hidden}");
    let beyond = ask(Driver { devices: devices.clone(), ..Driver::default() }, 1);
    assert!(beyond.is_absent() && beyond.what().contains("no device 1: it shows 1"), "{beyond}");
    let mismatch = ask(Driver { devices, init: 803, ..Driver::default() }, 0);
    assert!(
        mismatch.is_unsupported() && mismatch.what().contains("different versions"),
        "{mismatch}"
    );

    let other = pci_address(Some(&Nvml::of(pair()).path()), 0).unwrap_err();
    assert!(other.is_unsupported() && other.what().contains("cuInit"), "{other}");
    let directory = tempfile::tempdir().unwrap();
    let missing = pci_address(Some(&directory.path().join("libcuda.so.1")), 0).unwrap_err();
    assert!(
        missing.is_absent() && missing.to_string().contains("install the NVIDIA driver"),
        "{missing}"
    );
}
