//! A text as numbered characters, and windows of it for a language model.

use rand::Rng;

/// A text whose characters are numbers in `0..vocabulary()`.
#[derive(Clone, Debug)]
pub struct Text {
    alphabet: Vec<char>,
    characters: Vec<u32>,
}

/// Windows of a text, and the same windows one character further on: what a model sees, and what it should say.
#[derive(Clone, Debug, PartialEq)]
pub struct Windows {
    /// The characters seen, window after window.
    pub inputs: Vec<u32>,
    /// The character that follows each.
    pub targets: Vec<u32>,
}

impl Text {
    /// "Around the World in Eighty Days" by Jules Verne, in English: 370,872 characters, 78 different ones.
    pub fn eighty_days() -> Text {
        Text::new(include_str!("../data/eighty-days.txt"))
    }

    /// `text`, its characters numbered in the order of their code points.
    pub fn new(text: &str) -> Text {
        let mut alphabet: Vec<char> = text.chars().collect();
        alphabet.sort_unstable();
        alphabet.dedup();
        let number = |character| alphabet.partition_point(|&other| other < character);
        let characters =
            text.chars().map(|c| u32::try_from(number(c)).unwrap_or(u32::MAX)).collect();
        Text { alphabet, characters }
    }

    /// The number of different characters.
    pub fn vocabulary(&self) -> usize {
        self.alphabet.len()
    }

    /// The number of characters.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks whether a novel is empty")]
    pub fn len(&self) -> usize {
        self.characters.len()
    }

    /// The first nine tenths for training and the rest for test, with one numbering.
    pub fn split(&self) -> (Text, Text) {
        let (training, test) = self.characters.split_at(self.len() / 10 * 9);
        let part = |characters: &[u32]| Text { characters: characters.to_vec(), ..self.clone() };
        (part(training), part(test))
    }

    /// `n` windows of `length` characters from places that `random` chooses.
    ///
    /// # Panics
    ///
    /// If the text is not longer than `length`.
    pub fn windows(&self, n: usize, length: usize, random: &mut impl Rng) -> Windows {
        let mut windows = Windows {
            inputs: Vec::with_capacity(n * length),
            targets: Vec::with_capacity(n * length),
        };
        for _ in 0..n {
            let start = random.random_range(0..self.len() - length);
            windows.inputs.extend(&self.characters[start..][..length]);
            windows.targets.extend(&self.characters[start + 1..][..length]);
        }
        windows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn the_novel_is_whole() {
        let text = Text::eighty_days();
        assert_eq!((text.len(), text.vocabulary()), (370_872, 78));
        let (training, test) = text.split();
        assert_eq!(training.len() + test.len(), text.len());
        assert_eq!(test.vocabulary(), 78);
    }

    #[test]
    fn characters_are_numbered_in_order() {
        assert_eq!(Text::new("banana").characters, [1, 0, 2, 0, 2, 0]);
    }

    #[test]
    fn targets_are_inputs_one_character_later() {
        let text = Text::new("abcdefghijklmnopqrstuvwxyz");
        let windows = text.windows(20, 5, &mut StdRng::seed_from_u64(1));
        assert_eq!(windows.inputs.len(), 100);
        assert!(
            windows.inputs.iter().zip(&windows.targets).all(|(input, target)| input + 1 == *target)
        );
        assert_eq!(windows, text.windows(20, 5, &mut StdRng::seed_from_u64(1)));
        assert_ne!(windows, text.windows(20, 5, &mut StdRng::seed_from_u64(2)));
    }
}
