package rundir

// Locate is where Find looks, also if nothing is there.
var Locate = locate
