//! Which GPUs a CUDA program of this process uses: `CUDA_VISIBLE_DEVICES` and `CUDA_DEVICE_ORDER`.
//!
//! The rules are those of NVIDIA's CUDA programming guide (Environment Variables). What it leaves open — a number with
//! letters after it, an entry that is there twice — is as PyTorch's `torch.cuda.device_count` has it, which counts
//! devices without the driver and is held against it.

use std::env;
use std::fmt;

use super::cuda;
use crate::error::Error;
use crate::sensor::selection::canonical;

/// What decides which GPUs are visible to CUDA in a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visibility {
    /// The value of `CUDA_VISIBLE_DEVICES`; `None` where it is not set, and all GPUs are visible.
    pub devices: Option<String>,
    /// The value of `CUDA_DEVICE_ORDER`.
    pub order: Option<String>,
    /// The PCI addresses of the visible GPUs, where the CUDA driver is initialised in this process and has been asked.
    /// It has applied both variables itself.
    pub driver: Option<Vec<String>>,
}

impl Visibility {
    /// What holds in this process now. Loads and initialises nothing: a CUDA driver is asked only if the program has
    /// initialised it before.
    pub fn of_process() -> Visibility {
        let value = |name| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        Visibility {
            devices: value("CUDA_VISIBLE_DEVICES"),
            order: value("CUDA_DEVICE_ORDER"),
            driver: cuda::initialised(None),
        }
    }

    /// True if no GPU is visible, whichever there are: the list is empty, or begins with a negative index.
    pub(crate) fn is_none(&self) -> bool {
        match (&self.driver, &self.devices) {
            (Some(addresses), _) => addresses.is_empty(),
            (None, Some(list)) => {
                list.trim().is_empty() || number(list).is_some_and(|index| index < 0)
            }
            (None, None) => false,
        }
    }
}

/// What `CUDA_VISIBLE_DEVICES` is, in words.
impl fmt::Display for Visibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.devices {
            Some(list) => write!(f, "`CUDA_VISIBLE_DEVICES` is `{list}`"),
            None => f.write_str("`CUDA_VISIBLE_DEVICES` is not set"),
        }
    }
}

/// A GPU as NVML lists it; a text is empty where the driver does not tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Card {
    pub(super) uuid: String,
    pub(super) address: String,
    pub(super) model: String,
    /// The UUIDs of its MIG instances.
    pub(super) instances: Vec<String>,
}

/// The visible ones among `cards`, in the order of CUDA, and what there is to say about it.
pub(super) fn choose(visibility: &Visibility, cards: &[Card]) -> (Vec<usize>, Option<Error>) {
    if let Some(addresses) = &visibility.driver {
        return by_address(addresses, cards);
    }
    let Some(list) = &visibility.devices else { return ((0..cards.len()).collect(), None) };
    let naming = Naming::of(list);
    let (mut chosen, mut note) = (Vec::new(), None);
    for entry in list.split(',').map(str::trim) {
        if naming == Naming::Instance && !chosen.is_empty() {
            note = Some(said(visibility, "CUDA uses the first MIG instance of a list only"));
            break;
        }
        match naming.find(entry, cards) {
            Some(card) if chosen.contains(&card) => {
                let what = format!("`{entry}` is there a second time, so CUDA shows no GPU at all");
                return (Vec::new(), Some(said(visibility, &what)));
            }
            Some(card) => chosen.push(card),
            // The usual way to end a list, or to hide all.
            None if entry.is_empty() || number(entry).is_some_and(|index| index < 0) => break,
            None => {
                let what = format!("`{entry}` names no GPU here, and CUDA ends the list there");
                note = Some(said(visibility, &what));
                break;
            }
        }
    }
    let by_address = visibility.order.as_deref().is_some_and(|order| order.trim() == "PCI_BUS_ID");
    let alike = cards.iter().all(|card| !card.model.is_empty() && card.model == cards[0].model);
    if naming == Naming::Index && !by_address && !alike && chosen.len() < cards.len() {
        let error = Error::unsupported(format!(
            "{visibility}, and CUDA counts the fastest GPU first; which those are only its driver knows, and the \
             program has not initialised it, so all GPUs are measured"
        ));
        let cure = "set `CUDA_DEVICE_ORDER=PCI_BUS_ID`, name the GPUs by UUID, or make the meter after the \
             program's first use of CUDA";
        return ((0..cards.len()).collect(), Some(error.cure(cure)));
    }
    (chosen, note)
}

fn by_address(addresses: &[String], cards: &[Card]) -> (Vec<usize>, Option<Error>) {
    let (mut chosen, mut note) = (Vec::new(), None);
    for address in addresses {
        let sought = canonical(address);
        let same = |card: &Card| sought.is_some() && canonical(&card.address) == sought;
        match cards.iter().position(same) {
            // Two instances of one GPU have its address.
            Some(card) if chosen.contains(&card) => {}
            Some(card) => chosen.push(card),
            None => {
                let what =
                    format!("CUDA uses a GPU at PCI address `{address}`, which NVML does not show");
                note = Some(Error::absent(what).cure("show the container the same GPUs by both"));
            }
        }
    }
    (chosen, note)
}

fn said(visibility: &Visibility, what: &str) -> Error {
    Error::invalid(format!("{visibility}: {what}"))
        .cure("`nvidia-smi -L` lists the indices and UUIDs")
}

/// How the entries of a list name GPUs; the first entry decides, and one of another sort ends the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    Index,
    Uuid,
    Instance,
}

impl Naming {
    fn of(list: &str) -> Naming {
        match list.trim_start() {
            list if list.starts_with("GPU-") => Naming::Uuid,
            list if list.starts_with("MIG-") => Naming::Instance,
            _ => Naming::Index,
        }
    }

    /// The card that an entry names, if it names exactly one.
    fn find(self, entry: &str, cards: &[Card]) -> Option<usize> {
        match self {
            Naming::Index => {
                let index = usize::try_from(number(entry)?).ok()?;
                (index < cards.len()).then_some(index)
            }
            Naming::Uuid => {
                // Abbreviated forms are allowed, as long as only one GPU has that beginning.
                let entry = entry.strip_prefix("GPU-").map(|_| entry)?;
                only(cards, |card| card.uuid.starts_with(entry))
            }
            Naming::Instance => match entry.strip_prefix("MIG-")?.split_once('/') {
                // `MIG-GPU-<UUID>/<GPU instance>/<compute instance>`, of drivers before 470.
                Some((parent, _)) => only(cards, |card| card.uuid == parent),
                None => only(cards, |card| {
                    card.instances.iter().any(|instance| instance.starts_with(entry))
                }),
            },
        }
    }
}

/// The place of the one card that matches.
fn only(cards: &[Card], matches: impl Fn(&Card) -> bool) -> Option<usize> {
    let mut places = cards.iter().enumerate().filter(|(_, card)| matches(card)).map(|(at, _)| at);
    places.next().filter(|_| places.next().is_none())
}

/// The number at the beginning of an entry, as C's `strtol` reads it: `1gpu` is 1.
fn number(entry: &str) -> Option<i64> {
    let entry = entry.trim();
    let digits = entry.strip_prefix(['-', '+']).unwrap_or(entry);
    let length = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
    let value: i64 = digits[..length].parse().ok()?;
    Some(if entry.starts_with('-') { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6";
    const B: &str = "GPU-8932aaaa-0000-4106-c12f-20bd9faed9f6";
    const C: &str = "GPU-5ebe9f43-ac33-5420-c12f-20bd9faed9f6";

    fn cards(models: [&str; 3]) -> Vec<Card> {
        let card = |(nth, uuid): (usize, &str)| Card {
            uuid: uuid.to_owned(),
            address: format!("00000000:{nth}7:00.0"),
            model: models[nth].to_owned(),
            instances: vec![format!("MIG-{nth}0000000-1"), format!("MIG-{nth}0000000-2")],
        };
        [A, B, C].into_iter().enumerate().map(card).collect()
    }

    fn set(devices: &str) -> Visibility {
        Visibility { devices: Some(devices.to_owned()), ..Visibility::default() }
    }

    #[test]
    fn a_list_shows_what_cuda_shows() {
        let cards = cards(["NVIDIA A100"; 3]);
        let legacy = format!("MIG-{C}/1/0");
        for (list, shown, note) in [
            ("0", vec![0], None),
            ("2,0", vec![2, 0], None),
            (" 1 , 2 ", vec![1, 2], None),
            ("1gpu2,2", vec![1, 2], None),
            ("0,2,-1,1", vec![0, 2], None),
            ("0,,1", vec![0], None),
            ("-1", vec![], None),
            ("", vec![], None),
            (" ", vec![], None),
            ("0,3,1", vec![0], Some("`3` names no GPU")),
            ("gpu0", vec![], Some("`gpu0` names no GPU")),
            ("NoDevFiles", vec![], Some("names no GPU")),
            ("0,1,0", vec![], Some("second time")),
            ("99999999999999999999", vec![], Some("names no GPU")),
            (C, vec![2], None),
            ("GPU-5ebe", vec![2], None),
            ("GPU-5,GPU-8932f", vec![2, 0], None),
            ("GPU-8932", vec![], Some("names no GPU")),
            ("GPU-5ebe,1", vec![2], Some("`1` names no GPU")),
            ("1,GPU-5ebe", vec![1], Some("`GPU-5ebe` names no GPU")),
            ("GPU-5ebe,GPU-5ebe9f43", vec![], Some("second time")),
            ("GPU-dead,GPU-5ebe", vec![], Some("`GPU-dead` names no GPU")),
            ("MIG-10000000-2", vec![1], None),
            (&legacy, vec![2], None),
            ("MIG-20000000-1,MIG-00000000-1", vec![2], Some("first MIG instance")),
            ("MIG-GPU-dead/1/0", vec![], Some("names no GPU")),
            ("MIG-dead", vec![], Some("names no GPU")),
        ] {
            let (chosen, said) = choose(&set(list), &cards);
            assert_eq!(chosen, shown, "`{list}`");
            let said = said.map(|error| error.to_string());
            match note {
                None => assert_eq!(said, None, "`{list}`"),
                Some(note) => {
                    assert!(
                        said.as_ref().is_some_and(|it| it.contains(note)),
                        "`{list}`: {said:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn nothing_set_shows_all() {
        let cards = cards(["A", "B", "C"]);
        assert_eq!(choose(&Visibility::default(), &cards).0, [0, 1, 2]);
        assert!(choose(&Visibility::default(), &cards).1.is_none());
    }

    #[test]
    fn an_index_among_different_gpus_needs_an_order() {
        let cards = cards(["NVIDIA T4", "NVIDIA A100", "NVIDIA T4"]);
        let (chosen, note) = choose(&set("0"), &cards);
        assert_eq!(chosen, [0, 1, 2]);
        assert!(note.is_some_and(|error| error.what().contains("all GPUs are measured")));

        let ordered = Visibility { order: Some("PCI_BUS_ID".to_owned()), ..set("0") };
        assert!(matches!(choose(&ordered, &cards), (chosen, None) if chosen == [0]));
        let fastest = Visibility { order: Some("FASTEST_FIRST".to_owned()), ..set("0") };
        assert_eq!(choose(&fastest, &cards).0, [0, 1, 2]);
        // A UUID needs none, and all of them are all of them.
        assert!(matches!(choose(&set(B), &cards), (chosen, None) if chosen == [1]));
        assert!(matches!(choose(&set("2,1,0"), &cards), (chosen, None) if chosen.len() == 3));
    }

    #[test]
    fn a_gpu_that_does_not_tell_its_model_is_not_taken_for_the_same() {
        let mut cards = cards(["NVIDIA A100"; 3]);
        cards[1] = Card::default();
        assert_eq!(choose(&set("0"), &cards).0, [0, 1, 2]);
    }

    #[test]
    fn the_driver_knows_best() {
        let cards = cards(["NVIDIA T4", "NVIDIA A100", "NVIDIA T4"]);
        let asked = |addresses: &[&str]| Visibility {
            driver: Some(addresses.iter().map(ToString::to_string).collect()),
            ..set("7,8,9")
        };
        assert_eq!(choose(&asked(&["0000:17:00.0"]), &cards).0, [1]);
        assert_eq!(
            choose(&asked(&["0000:27:00.0", "0000:07:00.0", "0000:27:00.0"]), &cards).0,
            [2, 0]
        );
        let (chosen, note) = choose(&asked(&["0000:99:00.0", "0000:07:00.0"]), &cards);
        assert_eq!(chosen, [0]);
        assert!(note.is_some_and(|error| error.what().contains("0000:99:00.0")));
        assert!(asked(&[]).is_none() && !asked(&["0000:17:00.0"]).is_none());
    }

    #[test]
    fn a_list_that_hides_all_is_known_without_nvml() {
        for list in ["", "  ", "-1", "-1,0"] {
            assert!(set(list).is_none(), "`{list}`");
        }
        for list in ["0", "0,-1", "GPU-8932", "NoDevFiles"] {
            assert!(!set(list).is_none(), "`{list}`");
        }
        assert!(!Visibility::default().is_none());
    }

    #[test]
    fn no_list_is_too_strange_to_be_read() {
        let cards = cards(["NVIDIA A100"; 3]);
        for list in [",", ",,0", "-", "+", "GPU-", "MIG-", "MIG-/", "é,0", "\u{0}", "0x1", "- 1"] {
            let (chosen, _) = choose(&set(list), &cards);
            assert!(chosen.len() <= 1, "`{list}`: {chosen:?}");
        }
        assert!(choose(&set("0"), &[]).0.is_empty());
    }
}
