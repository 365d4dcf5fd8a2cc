//! Grey images with a class each: shuffled, split, and cut into batches.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::Result;

/// Grey images of one size, with their classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    height: usize,
    width: usize,
    pixels: Vec<f32>,
    labels: Vec<u8>,
}

/// Some images as a training step takes them.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The pixels in 0..=1, image after image and row after row.
    pub pixels: Vec<f32>,
    /// The class of each image.
    pub labels: Vec<u8>,
}

impl Batch {
    /// The number of images.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }
}

impl Images {
    /// Images of `height` × `width` pixels in 0..=1, row after row, and the class of each.
    ///
    /// # Errors
    ///
    /// If there are not `height * width` pixels for each label, or no image at all.
    pub fn new(height: usize, width: usize, pixels: Vec<f32>, labels: Vec<u8>) -> Result<Self> {
        if labels.is_empty() || pixels.len() != labels.len() * height * width {
            let (found, images) = (pixels.len(), labels.len());
            return Err(
                format!("{found} pixels are not {images} images of {height} × {width}").into()
            );
        }
        Ok(Images { height, width, pixels, labels })
    }

    /// The number of images.
    #[expect(clippy::len_without_is_empty, reason = "there is always an image")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The rows of an image.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The columns of an image.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The pixels of an image: what a dense network takes in.
    pub fn size(&self) -> usize {
        self.height * self.width
    }

    /// One more than the largest class.
    pub fn classes(&self) -> usize {
        self.labels.iter().max().map_or(0, |&label| usize::from(label) + 1)
    }

    /// The images one by one, each with its class.
    pub fn iter(&self) -> impl Iterator<Item = (&[f32], u8)> {
        self.pixels.chunks_exact(self.size()).zip(self.labels.iter().copied())
    }

    /// These images in two parts, for training and for test: shuffled by `seed`, a quarter in the second.
    pub fn split(&self, seed: u64) -> (Images, Images) {
        let order = self.shuffled(seed);
        let (test, training) = order.split_at(self.len() / 4);
        (self.select(training), self.select(test))
    }

    /// Every image nine times: as it is, and shifted by one pixel in each of the eight directions.
    ///
    /// The pixels that come in are 0.
    pub fn shifted(&self) -> Images {
        let mut pixels = Vec::with_capacity(9 * self.pixels.len());
        let mut labels = Vec::with_capacity(9 * self.len());
        for (image, label) in self.iter() {
            for (down, right) in (0..9).map(|direction| (direction / 3, direction % 3)) {
                // Counted from 1, so that nothing is below 0: 1 is no shift.
                for (row, column) in
                    (0..self.size()).map(|place| (place / self.width + 1, place % self.width + 1))
                {
                    let inside = (1..=self.height).contains(&(row + down - 1))
                        && (1..=self.width).contains(&(column + right - 1));
                    let source = || image[(row + down - 2) * self.width + column + right - 2];
                    pixels.push(if inside { source() } else { 0.0 });
                }
                labels.push(label);
            }
        }
        Images { pixels, labels, ..*self }
    }

    /// All images in the order that `seed` gives, in batches of `size`; the last may be smaller.
    pub fn batches(&self, size: usize, seed: u64) -> Vec<Batch> {
        self.shuffled(seed).chunks(size).map(|part| self.select(part).into()).collect()
    }

    /// All images, in their own order, as one batch.
    pub fn whole(&self) -> Batch {
        self.clone().into()
    }

    fn shuffled(&self, seed: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.shuffle(&mut StdRng::seed_from_u64(seed));
        order
    }

    fn select(&self, indices: &[usize]) -> Images {
        let image = |&index: &usize| &self.pixels[index * self.size()..][..self.size()];
        Images {
            pixels: indices.iter().flat_map(image).copied().collect(),
            labels: indices.iter().map(|&index| self.labels[index]).collect(),
            ..*self
        }
    }
}

impl From<Images> for Batch {
    fn from(images: Images) -> Batch {
        Batch { pixels: images.pixels, labels: images.labels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each image's only pixel is its class.
    fn images(n: u8) -> Images {
        Images::new(1, 1, (0..n).map(f32::from).collect(), (0..n).collect()).unwrap()
    }

    #[test]
    fn a_split_keeps_every_image_once_with_its_class() {
        let (training, test) = images(40).split(1);
        assert_eq!((training.len(), test.len()), (30, 10));
        let mut seen: Vec<u8> =
            training.iter().chain(test.iter()).map(|(_, label)| label).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..40).collect::<Vec<u8>>());
        assert!(training.iter().all(|(pixels, label)| pixels == [f32::from(label)]));
    }

    #[test]
    fn the_seed_decides_the_order() {
        let images = images(40);
        assert_eq!(images.batches(8, 3), images.batches(8, 3));
        assert_ne!(images.batches(8, 3), images.batches(8, 4));
        assert_eq!(images.split(3), images.split(3));
    }

    #[test]
    fn the_last_batch_holds_the_rest() {
        let sizes: Vec<usize> = images(10).batches(4, 0).iter().map(Batch::len).collect();
        assert_eq!(sizes, [4, 4, 2]);
    }

    #[test]
    fn shifts_move_every_pixel_by_one() {
        let shifted =
            Images::new(2, 3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![7]).unwrap().shifted();
        let pictures: Vec<&[f32]> = shifted.iter().map(|(pixels, _)| pixels).collect();
        assert_eq!(shifted.whole().labels, [7; 9]);
        assert_eq!(pictures[4], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(pictures[0], [0.0, 0.0, 0.0, 0.0, 1.0, 2.0]);
        assert_eq!(pictures[5], [2.0, 3.0, 0.0, 5.0, 6.0, 0.0]);
        assert_eq!(pictures[7], [4.0, 5.0, 6.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn pixels_that_do_not_fit_are_refused() {
        assert!(Images::new(2, 2, vec![0.0; 7], vec![0, 1]).is_err());
        assert!(Images::new(2, 2, vec![], vec![]).is_err());
    }
}
