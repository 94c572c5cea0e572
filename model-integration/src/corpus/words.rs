//! The words that stories are made of. Every list is free of repeats, and no word is in two.

/// People. None of them is the beginning of another.
pub const NAMES: &[&str] = &[
    "Ada", "Ben", "Cora", "Dan", "Ella", "Finn", "Gus", "Hana", "Ivan", "Jack", "Kira", "Leo",
    "Mia", "Nils", "Olga", "Paul", "Rosa", "Sam", "Tess", "Umar", "Vera", "Will", "Yara", "Zoe",
];

/// Things to carry and play with.
pub const TOYS: &[&str] = &[
    "kite", "drum", "ball", "doll", "boat", "book", "lamp", "rope", "flute", "hat", "coin", "ring",
    "bell", "cup", "box", "key", "map", "mask", "top", "wagon", "whistle", "puzzle", "brush",
    "basket", "blanket", "candle", "mirror", "shell", "stone", "feather",
];

/// Where people live.
pub const PLACES: &[&str] = &[
    "river", "forest", "market", "bridge", "harbor", "mill", "lake", "hill", "school", "garden",
    "church", "station", "meadow", "tower", "beach", "farm", "castle", "valley", "island", "cave",
    "inn", "bakery", "pond", "well", "orchard", "gate", "mountain", "desert", "village", "canal",
];

/// Animals that follow people about.
pub const ANIMALS: &[&str] = &[
    "dog", "cat", "goat", "horse", "duck", "rabbit", "parrot", "turtle", "mouse", "fox", "sheep",
    "owl", "pony", "frog", "hen", "lizard", "crow", "donkey", "goose", "hamster", "otter", "snail",
    "badger", "pigeon", "squirrel", "beetle", "swan", "monkey", "lamb", "hedgehog",
];

/// Things to eat.
pub const FOODS: &[&str] = &[
    "bread", "soup", "cheese", "rice", "honey", "cake", "fish", "apples", "plums", "nuts", "milk",
    "beans", "eggs", "pie", "jam", "corn", "pears", "pasta", "butter", "grapes", "carrots",
    "cherries", "cookies", "onions", "porridge", "melons", "lemons", "peas", "berries", "salad",
];

/// Looks of a thing or an animal.
pub const ADJECTIVES: &[&str] = &[
    "red", "blue", "green", "old", "new", "small", "big", "yellow", "brown", "white", "black",
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

/// What scenery looks like.
pub const WEATHER: &[&str] = &[
    "warm", "cold", "calm", "bright", "dark", "soft", "loud", "quiet", "gentle", "wet",
];

/// What a group does while nothing happens.
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
