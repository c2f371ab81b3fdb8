"""Does an endpoint do what it is asked? Races between hypotheses, with a stated error."""
