//! The vocabulary of stories. No list has repeats, and no word is in two lists.

/// People. No name is a prefix of another.
pub const NAMES: &[&str] = &[
    "Ada", "Ben", "Cora", "Dan", "Ella", "Finn", "Gus", "Hana", "Ivan", "Jack", "Kira", "Leo",
    "Mia", "Nils", "Olga", "Paul", "Rosa", "Sam", "Tess", "Umar", "Vera", "Will", "Yara", "Zoe",
];

/// Things to carry and play with.
pub const TOYS: &[&str] = &[
    "kite", "ball", "doll", "boat", "book", "lamp", "rope", "coin", "ring", "bell", "cup", "box",
    "key", "map", "mask", "whistle", "puzzle", "mirror", "shell", "feather",
];

/// Where people live.
pub const PLACES: &[&str] = &[
    "river", "forest", "market", "bridge", "harbor", "mill", "lake", "hill", "school", "garden",
    "church", "station", "meadow", "tower", "beach", "farm", "castle", "valley", "island", "cave",
];

/// Animals that follow people about.
pub const ANIMALS: &[&str] = &[
    "dog", "cat", "goat", "horse", "duck", "rabbit", "parrot", "turtle", "mouse", "fox", "sheep",
    "pony", "frog", "hen", "crow", "donkey", "goose", "swan", "monkey", "lamb",
];

/// Things to eat.
pub const FOODS: &[&str] = &[
    "bread", "soup", "cheese", "rice", "honey", "cake", "fish", "apples", "plums", "nuts", "milk",
    "beans", "eggs", "pie", "jam", "corn", "pears", "pasta", "butter", "grapes",
];

/// Things to travel in or on.
pub const VEHICLES: &[&str] = &[
    "bus", "train", "sled", "canoe", "tractor", "carriage", "truck", "ferry", "bicycle", "scooter",
    "van", "raft", "wagon", "tram", "ship", "balloon", "cart", "taxi", "rocket", "coach",
];

/// Things to wear.
pub const CLOTHES: &[&str] = &[
    "coat", "scarf", "cap", "shirt", "sweater", "jacket", "dress", "belt", "apron", "cloak",
    "vest", "shawl", "helmet", "hat", "skirt", "robe", "suit", "tie", "hood", "gown",
];

/// Things to work with.
pub const TOOLS: &[&str] = &[
    "hammer", "saw", "shovel", "rake", "needle", "broom", "bucket", "ladder", "axe", "spade",
    "wrench", "pencil", "brush", "knife", "hoe", "drill", "file", "pump", "chisel", "spoon",
];

/// Things to grow.
pub const PLANTS: &[&str] = &[
    "rose",
    "tulip",
    "lily",
    "daisy",
    "violet",
    "orchid",
    "poppy",
    "sunflower",
    "fern",
    "iris",
    "cactus",
    "bush",
    "vine",
    "palm",
    "pine",
    "birch",
    "willow",
    "cedar",
    "clover",
    "maple",
];

/// Things to make music on.
pub const INSTRUMENTS: &[&str] = &[
    "violin",
    "piano",
    "trumpet",
    "guitar",
    "harp",
    "cello",
    "horn",
    "banjo",
    "organ",
    "fiddle",
    "drum",
    "flute",
    "tuba",
    "lute",
    "gong",
    "bass",
    "pipe",
    "accordion",
    "clarinet",
    "trombone",
];

/// Things to sit at or sleep in.
pub const FURNITURE: &[&str] = &[
    "chair", "table", "bench", "sofa", "desk", "shelf", "stool", "cradle", "wardrobe", "cupboard",
    "bed", "chest", "carpet", "couch", "dresser", "cabinet", "hammock", "pillow", "clock", "stove",
];

/// Looks of things, places, animals and dishes.
pub const LOOKS: &[&str] = &[
    "red", "blue", "green", "grey", "new", "small", "big", "yellow", "brown", "white", "black",
    "heavy", "pretty", "strange", "tiny", "golden", "silver", "striped", "clean", "dusty",
];

/// Times of day that open a scene.
pub const TIMES: &[&str] = &[
    "In the morning",
    "At noon",
    "In the evening",
    "After lunch",
    "Before dinner",
    "Later",
    "At last",
    "Then",
    "That night",
    "The next day",
];

/// Subjects of scenery.
pub const SCENERY: &[&str] = &[
    "sky", "wind", "sun", "rain", "road", "grass", "air", "snow", "fog", "moon",
];

/// Looks of scenery.
pub const WEATHER: &[&str] = &[
    "warm", "cold", "calm", "bright", "dark", "soft", "loud", "quiet", "gentle", "wet",
];

/// Activities of a group in pauses.
pub const PASTIMES: &[&str] = &[
    "sang a song",
    "told jokes",
    "walked along the road",
    "sat under a tree",
    "looked at the clouds",
    "ran and laughed",
    "rested for a while",
    "talked about the weather",
    "waited for the sun",
    "made a fire",
];
