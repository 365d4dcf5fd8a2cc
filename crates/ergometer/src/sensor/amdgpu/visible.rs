//! Which of AMD's GPUs a program may use: `ROCR_VISIBLE_DEVICES`, then `HIP_VISIBLE_DEVICES`.
//!
//! Both are lists of indices or ids, and the two libraries read them differently. The rules here are those of their
//! sources, `amd_filter_device.cpp` of ROCR, and `rocdevice.cpp` of the HIP runtime.

use std::env;
use std::fs;
use std::path::Path;

use crate::sensor::attribute;
use crate::sensor::selection::canonical;

/// The variables' values.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    pub(super) rocr: Option<String>,
    pub(super) hip: Option<String>,
    /// `CUDA_VISIBLE_DEVICES`, which HIP takes for its own where that one is unset or empty.
    pub(super) cuda: Option<String>,
}

impl Variables {
    /// The values in this process.
    pub(super) fn of_process() -> Self {
        let value = |name| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        Variables {
            rocr: value("ROCR_VISIBLE_DEVICES"),
            hip: value("HIP_VISIBLE_DEVICES"),
            cuda: value("CUDA_VISIBLE_DEVICES"),
        }
    }

    /// True if they hold nothing back.
    pub(super) fn are_unset(&self) -> bool {
        self.rocr.is_none() && self.hip().is_none()
    }

    /// The devices that a HIP program sees, in its order, as indices into `numbers`: the unique numbers of all devices
    /// in ROCR's order, 0 for one that has none.
    ///
    /// ROCR hides devices first, all of them if its list is empty, and HIP counts what is left.
    pub(super) fn visible(&self, numbers: &[u64]) -> Vec<usize> {
        let left = match &self.rocr {
            Some(list) => by_rocr(list, numbers),
            None => (0..numbers.len()).collect(),
        };
        match self.hip() {
            Some(list) => by_hip(list, &left, numbers),
            None => left,
        }
    }

    fn hip(&self) -> Option<&str> {
        let set = |list: &&str| !list.is_empty();
        self.hip.as_deref().filter(set).or(self.cuda.as_deref().filter(set))
    }
}

/// An index in C's notation or an id in any case, shortened as long as it fits one device. Whatever is not a device,
/// and a device that was named before, ends the list.
fn by_rocr(list: &str, numbers: &[u64]) -> Vec<usize> {
    let mut chosen = Vec::new();
    for entry in list.split(',').take(numbers.len()) {
        let entry = entry.trim().to_ascii_uppercase();
        let index = if entry.starts_with('G') { by_id(&entry, numbers) } else { in_c(&entry) };
        match index {
            Some(index) if index < numbers.len() && !chosen.contains(&index) => chosen.push(index),
            _ => break,
        }
    }
    chosen
}

fn by_id(entry: &str, numbers: &[u64]) -> Option<usize> {
    if entry.len() < 5 {
        return None;
    }
    let fits = |number: u64| number != 0 && id(number).to_ascii_uppercase().starts_with(entry);
    let mut fitting = (0..numbers.len()).filter(|index| fits(numbers[*index]));
    fitting.next().filter(|_| fitting.next().is_none())
}

/// What C's `strtol` makes of a whole text, where that is not negative.
fn in_c(text: &str) -> Option<usize> {
    let (digits, radix) = match text.strip_prefix("0X") {
        Some(digits) => (digits, 16),
        None if text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    usize::from_str_radix(digits, radix).ok()
}

/// A plain index, or an id or any part of one that holds `GPU-`, in small letters. What is not a device ends the list;
/// a device that was named before is passed over.
fn by_hip(list: &str, left: &[usize], numbers: &[u64]) -> Vec<usize> {
    let mut chosen = Vec::new();
    for entry in list.split(',') {
        let device = if entry.contains("GPU-") {
            left.iter().find(|device| id(numbers[**device]).contains(entry))
        } else {
            // `01`, `+1` and ` 1` are not how the index is printed, and end the list, too.
            entry
                .parse()
                .ok()
                .filter(|index: &usize| index.to_string() == entry)
                .and_then(|index| left.get(index))
        };
        match device {
            Some(device) if chosen.contains(device) => {}
            Some(device) => chosen.push(*device),
            None => break,
        }
    }
    chosen
}

/// A device's id as ROCR prints it.
fn id(number: u64) -> String {
    if number == 0 { "GPU-XX".to_owned() } else { format!("GPU-{number:016x}") }
}

/// The GPUs that the kernel's compute driver shows to this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Nodes {
    /// PCI address and unique number, in ROCR's order.
    pub(super) gpus: Vec<(Option<String>, u64)>,
    /// True if there are more of them, which were not given to this container: the kernel refuses to describe those.
    pub(super) some_are_hidden: bool,
}

impl Nodes {
    pub(super) fn read(sysfs: &Path) -> Self {
        let entries = fs::read_dir(sysfs.join("class/kfd/kfd/topology/nodes"));
        let mut paths: Vec<_> = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                Some((path.file_name()?.to_str()?.parse::<u32>().ok()?, path))
            })
            .collect();
        paths.sort();
        let mut nodes = Nodes::default();
        for (_, path) in paths {
            match attribute::text(&path.join("properties")) {
                Ok(properties) => nodes.gpus.extend(node(&properties)),
                Err(_) => nodes.some_are_hidden = true,
            }
        }
        nodes
    }
}

/// What a node's properties say, if it is a GPU.
fn node(properties: &str) -> Option<(Option<String>, u64)> {
    let property = |name: &str| {
        let mut words = properties.lines().map(str::split_whitespace);
        words.find_map(|mut words| {
            (words.next() == Some(name)).then(|| words.next()?.parse::<u64>().ok()).flatten()
        })
    };
    if property("simd_count").unwrap_or(0) == 0 {
        return None;
    }
    // Bus in the second byte, device and function in the first. The partitions of one GPU differ in the function.
    let place = property("location_id").unwrap_or(0);
    let (domain, bus, device) =
        (property("domain").unwrap_or(0), place >> 8 & 0xff, place >> 3 & 0x1f);
    let address = canonical(&format!("{domain:04x}:{bus:02x}:{device:02x}.0"));
    Some((address, property("unique_id").unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first two differ in their last letter, the third has no number.
    const NUMBERS: [u64; 4] = [0xdead_beef_0000_000a, 0xdead_beef_0000_000b, 0, 0x1234];

    #[test]
    fn the_variables_are_read_as_rocm_reads_them() {
        // ROCR_VISIBLE_DEVICES, HIP_VISIBLE_DEVICES, CUDA_VISIBLE_DEVICES, what a program sees.
        type Row =
            (Option<&'static str>, Option<&'static str>, Option<&'static str>, &'static [usize]);
        let table: [Row; 42] = [
            (None, None, None, &[0, 1, 2, 3]),
            // ROCR: indices.
            (Some("2"), None, None, &[2]),
            (Some("3,0"), None, None, &[3, 0]),
            (Some(" 1 , 2 "), None, None, &[1, 2]),
            (Some("0x3,01"), None, None, &[3, 1]),
            (Some("08"), None, None, &[]),
            (Some(""), None, None, &[]),
            (Some("-1"), None, None, &[]),
            (Some("-1,0"), None, None, &[]),
            (Some("0,-1,1"), None, None, &[0]),
            (Some("0,4,1"), None, None, &[0]),
            (Some("0,x,1"), None, None, &[0]),
            (Some("0,,1"), None, None, &[0]),
            (Some("1,1,2"), None, None, &[1]),
            (Some("0,1,2,3,0"), None, None, &[0, 1, 2, 3]),
            (Some("99999999999999999999"), None, None, &[]),
            // ROCR: ids.
            (Some("GPU-deadbeef0000000a"), None, None, &[0]),
            (Some("gpu-DEADBEEF0000000B,0"), None, None, &[1, 0]),
            (Some("GPU-0"), None, None, &[3]),
            (Some("GPU-deadbeef"), None, None, &[]),
            (Some("GPU-"), None, None, &[]),
            (Some("GPU-XX"), None, None, &[]),
            (Some("0,GPU-5,1"), None, None, &[0]),
            (Some("GPU-deadbeef0000000a0"), None, None, &[]),
            // HIP.
            (None, Some("2"), None, &[2]),
            (None, Some("2,0"), None, &[2, 0]),
            (None, Some("0,0,1"), None, &[0, 1]),
            (None, Some("0,4,1"), None, &[0]),
            (None, Some("-1"), None, &[]),
            (None, Some("-1,0"), None, &[]),
            (None, Some("0, 1"), None, &[0]),
            (None, Some("01"), None, &[]),
            (None, Some("GPU-deadbeef0000000b"), None, &[1]),
            (None, Some("GPU-DEADBEEF0000000B"), None, &[]),
            (None, Some("GPU-deadbeef"), None, &[0]),
            // CUDA's variable speaks where HIP's is unset or empty.
            (None, None, Some("1"), &[1]),
            (None, Some(""), Some("3"), &[3]),
            (None, Some("2"), Some("3"), &[2]),
            (None, Some(""), Some(""), &[0, 1, 2, 3]),
            (None, None, Some("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"), &[]),
            // HIP counts what ROCR left.
            (Some("3,1"), Some("1"), None, &[1]),
            (Some("3,1"), Some("2,0"), None, &[]),
        ];
        for (rocr, hip, cuda, expected) in table {
            let [rocr, hip, cuda] = [rocr, hip, cuda].map(|list| list.map(str::to_owned));
            let variables = Variables { rocr, hip, cuda };
            assert_eq!(variables.visible(&NUMBERS), expected, "{variables:?}");
        }
    }

    #[test]
    fn without_devices_nothing_is_visible() {
        for list in [None, Some(""), Some("0"), Some("GPU-1234")] {
            let [rocr, hip, cuda] = [list; 3].map(|list| list.map(str::to_owned));
            assert!(Variables { rocr, hip, cuda }.visible(&[]).is_empty(), "{list:?}");
        }
    }

    #[test]
    fn nodes_count_by_their_number_and_those_of_other_containers_not() {
        let sysfs = env::temp_dir().join(format!("ergometer-nodes-{}", std::process::id()));
        let nodes = sysfs.join("class/kfd/kfd/topology/nodes");
        for (node, bus) in [(0, 0), (9, 3), (10, 4)] {
            let directory = nodes.join(node.to_string());
            fs::create_dir_all(&directory).unwrap();
            let properties = format!("simd_count {}\nlocation_id {}\n", bus * 10, bus << 8);
            fs::write(directory.join("properties"), properties).unwrap();
        }
        let at = |bus| (canonical(&format!("0000:{bus:02x}:00.0")), 0);
        let given = Nodes { gpus: vec![at(3), at(4)], some_are_hidden: false };
        assert_eq!(Nodes::read(&sysfs), given);
        // Reading a directory fails, as reading a hidden node's properties does.
        fs::create_dir_all(nodes.join("11/properties")).unwrap();
        assert_eq!(Nodes::read(&sysfs), Nodes { some_are_hidden: true, ..given });
        fs::remove_dir_all(&sysfs).unwrap();
        assert_eq!(Nodes::read(&sysfs), Nodes::default());
    }

    #[test]
    fn a_node_without_arithmetic_units_is_no_gpu() {
        assert_eq!(node("cpu_cores_count 64\nsimd_count 0\nlocation_id 0\n"), None);
        assert_eq!(node(""), None);
        assert_eq!(
            node("simd_count 440\nlocation_id 49408\ndomain 1\nunique_id 4660\n"),
            Some((Some("00000001:C1:00.0".to_owned()), 0x1234))
        );
    }
}
