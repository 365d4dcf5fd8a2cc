//! A [`Work`] that a paper cites.

/// A work, as a reader of Markdown and one of LaTeX wants it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Work {
    /// What it is cited by.
    pub(super) key: &'static str,
    /// Author, year, title, venue.
    pub(super) text: &'static str,
    /// Its BibTeX entry.
    pub(super) bibtex: &'static str,
}

pub(super) const ERGOMETER: Work = Work {
    key: "ergometer",
    text: concat!(
        "ergometer, version ",
        env!("CARGO_PKG_VERSION"),
        ". <",
        env!("CARGO_PKG_REPOSITORY"),
        ">"
    ),
    bibtex: concat!(
        "@misc{ergometer,\n  key = {ergometer},\n  title = {ergometer},\n  note = {Version ",
        env!("CARGO_PKG_VERSION"),
        "},\n  howpublished = {\\url{",
        env!("CARGO_PKG_REPOSITORY"),
        "}}\n}"
    ),
};

pub(super) const GUM: Work = Work {
    key: "jcgm100",
    text: "Joint Committee for Guides in Metrology (2008). Evaluation of measurement data: Guide to the expression of uncertainty in measurement. JCGM 100:2008. <https://doi.org/10.59161/JCGM100-2008E>",
    bibtex: "@techreport{jcgm100,
  author = {{Joint Committee for Guides in Metrology}},
  title = {Evaluation of measurement data: Guide to the expression of uncertainty in measurement},
  institution = {BIPM},
  number = {JCGM 100:2008},
  doi = {10.59161/JCGM100-2008E},
  year = {2008}
}",
};

pub(super) const STRUBELL: Work = Work {
    key: "strubell2019",
    text: "Strubell, E., Ganesh, A., McCallum, A. (2019). Energy and Policy Considerations for Deep Learning in NLP. ACL 2019, 3645–3650. <https://doi.org/10.18653/v1/P19-1355>",
    bibtex: "@inproceedings{strubell2019,
  author = {Strubell, Emma and Ganesh, Ananya and McCallum, Andrew},
  title = {Energy and Policy Considerations for Deep Learning in {NLP}},
  booktitle = {Proceedings of the 57th Annual Meeting of the Association for Computational Linguistics},
  pages = {3645--3650},
  doi = {10.18653/v1/P19-1355},
  year = {2019}
}",
};

pub(super) const EMBER: Work = Work {
    key: "ember2026",
    text: "Ember (2026), with major processing by Our World in Data. Lifecycle carbon intensity of electricity generation (data set). CC BY 4.0. <https://ourworldindata.org/grapher/carbon-intensity-electricity>",
    bibtex: "@misc{ember2026,
  author = {{Ember}},
  title = {Lifecycle carbon intensity of electricity generation},
  note = {Data set, with major processing by Our World in Data; CC BY 4.0},
  howpublished = {\\url{https://ourworldindata.org/grapher/carbon-intensity-electricity}},
  year = {2026}
}",
};

/// Printed in 2024; the preprint of 2023 has another title, "Part-time Power Measurements: nvidia-smi's Lack of Attention".
pub(super) const NVML: Work = Work {
    key: "yang2024",
    text: "Yang, Z., Adamek, K., Armour, W. (2024). Accurate and Convenient Energy Measurements for GPUs: A Detailed Study of NVIDIA GPU's Built-in Power Sensor. SC24. <https://doi.org/10.1109/SC41406.2024.00028> (arXiv:2312.02741)",
    bibtex: "@inproceedings{yang2024,
  author = {Yang, Zeyu and Adamek, Karel and Armour, Wesley},
  title = {Accurate and Convenient Energy Measurements for {GPUs}: A Detailed Study of {NVIDIA} {GPU}'s Built-in Power Sensor},
  booktitle = {SC24: International Conference for High Performance Computing, Networking, Storage and Analysis},
  doi = {10.1109/SC41406.2024.00028},
  eprint = {2312.02741},
  archivePrefix = {arXiv},
  year = {2024}
}",
};

pub(super) const RAPL: Work = Work {
    key: "khan2018",
    text: "Khan, K. N., Hirki, M., Niemi, T., Nurminen, J. K., Ou, Z. (2018). RAPL in Action: Experiences in Using RAPL for Power Measurements. ACM Transactions on Modeling and Performance Evaluation of Computing Systems 3(2), article 9. <https://doi.org/10.1145/3177754>",
    bibtex: "@article{khan2018,
  author = {Khan, Kashif Nizam and Hirki, Mikael and Niemi, Tapio and Nurminen, Jukka K. and Ou, Zhonghong},
  title = {{RAPL} in Action: Experiences in Using {RAPL} for Power Measurements},
  journal = {ACM Transactions on Modeling and Performance Evaluation of Computing Systems},
  volume = {3},
  number = {2},
  pages = {9:1--9:26},
  doi = {10.1145/3177754},
  year = {2018}
}",
};
