"""Which geometry popular optimizers have, by their steps, and whether runs agree."""

from penchant.studies._catalogue import CATALOGUE
from penchant.studies._study import Experiment, Study
from penchant.studies.geometries._foretold import foretold as foretold
from penchant.studies.geometries._table import table as table

STUDY = Study(
    *CATALOGUE["geometries"],
    {
        "table": Experiment(
            table,
            "Popular rules as black boxes",
            "What each rule was found to be stands below its line; the numbers are "
            "constants that its steps gave away.",
        ),
        "foretold": Experiment(
            foretold,
            "What identified rules maximise",
            "In every group the bar of a rule's own norm is the longest of the rules.",
        ),
    },
)
