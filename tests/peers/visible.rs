//! Which GPUs other meters measure under `CUDA_VISIBLE_DEVICES`, on a stub NVML library: CodeCarbon
//! (github.com/mlco2/codecarbon at b05965e, MIT) and Zeus (github.com/ml-energy/zeus at 75a8b93, Apache-2.0).

use std::time::Duration;

use ergometer::sensor::Selection;
use ergometer::sensor::nvml::{Visibility, open_within};

use crate::stub::{Gpu, Nvml};

/// The numbers of the GPUs that are measured where the variable is `list`, among `count` GPUs of one model, numbered
/// from 0, with UUIDs numbered from 1. Each has so many `instances`.
fn measured(list: Option<&str>, count: usize, instances: u32) -> Vec<usize> {
    let gpu = |number: usize| Gpu {
        uuid: format!("GPU-uuid-{}", number + 1),
        pci: format!("00000000:{:02X}:00.0", number + 1),
        instances,
        ..Gpu::default()
    };
    let stub = Nvml::of((0..count).map(gpu).collect::<Vec<_>>());
    let visibility = Visibility { devices: list.map(str::to_owned), ..Visibility::default() };
    let patience = Duration::from_secs(60);
    let found = open_within(patience, Some(&stub.path()), &Selection::Visible, &visibility);
    // Whatever is not measured is said.
    assert!(found.sensors.len() == count || list.is_some_and(hides) || !found.absent.is_empty());
    let ids = found.sensors.iter().map(|sensor| &sensor.specification().domain.id);
    let number = |id: &String| id.strip_prefix("gpu:GPU-uuid-").unwrap().parse::<usize>().unwrap();
    ids.map(|id| number(id) - 1).collect()
}

/// True of a list that hides all GPUs on purpose.
fn hides(list: &str) -> bool {
    list.trim().is_empty() || list == "-1"
}

#[test]
fn codecarbons_lists_of_two_gpus_select_what_they_select_there() {
    // `tests/test_gpu_nvidia.py`, test_get_gpu_ids; UUIDs without their `GPU-` there.
    for (list, expected) in [
        ("0,1", &[0, 1][..]),
        ("0,1,2", &[0, 1]),
        ("2", &[]),
        ("GPU-uuid-1", &[0]),
        ("GPU-uuid-1,GPU-uuid-2", &[0, 1]),
        ("GPU-uuid-3", &[]),
        // The same file: one of two, as the variable has it.
        ("1", &[1]),
        // `tests/test_config.py`: with spaces, and a number that is too high.
        ("0, 1", &[0, 1]),
        ("99", &[]),
    ] {
        assert_eq!(measured(Some(list), 2, 0), expected, "`{list}`");
    }
    assert_eq!(measured(Some("2, 3"), 4, 0), [2, 3]);
    // An instance stands for its GPU.
    assert_eq!(measured(Some("MIG-uuid-1"), 2, 2), [0]);
    assert!(measured(Some("MIG-uuid-3"), 2, 2).is_empty());
}

#[test]
fn a_uuid_is_that_gpu_and_an_empty_list_is_none() {
    // CodeCarbon 3.3.2 finds no GPU by a whole UUID, and Zeus 0.16.0 raises a ValueError. An empty list is all of them
    // to CodeCarbon.
    assert_eq!(measured(Some("GPU-uuid-2"), 2, 0), [1]);
    assert!(measured(Some(""), 2, 0).is_empty());
    assert!(measured(Some("-1"), 2, 0).is_empty());
}

#[test]
fn every_subset_of_four_gpus_is_selected_by_its_indices() {
    // Zeus, `tests/monitor/test_energy.py`, gpu_cases: all lists in ascending order, and none.
    for set in 1..16_usize {
        let visible: Vec<usize> = (0..4).filter(|number| set & (1 << number) != 0).collect();
        let list: Vec<String> = visible.iter().map(ToString::to_string).collect();
        assert_eq!(measured(Some(&list.join(",")), 4, 0), visible);
    }
    assert_eq!(measured(None, 4, 0), [0, 1, 2, 3]);
}
