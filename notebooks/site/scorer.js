// As Sphinx weighs what a search finds, but for objPrio: a title that is the word comes first, and a
// function of that name second. Of what is found equally well, tasks come first, then questions, the
// guide, the pages of parameters and engines, and what is left.
const First = ["pages/tasks/", "pages/questions/", "pages/", "parameters/", "engines/"];
var Scorer = {
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: -2, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
  score: ([page, , , , score]) => {
    const place = First.findIndex((folder) => page.startsWith(folder));
    return place < 0 ? score : score + 0.9 - place / 10;
  },
};
