package store

// MostReaders is how many Reads run at once.
const MostReaders = mostReaders
