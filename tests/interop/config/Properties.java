/* SPDX-License-Identifier: Apache-2.0
 * java Properties.java FOLDER COUNT SEED: random texts, and whether java.util.Properties takes them, and no key
 * twice. Writes FOLDER/properties.expect as suites.mjs does. */
import java.io.StringReader;
import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;

class Properties {
    static final String[] PIECES = {"a", "b", "ab", "=", ":", " ", "\t", "\f", "\n", "\r", "\r\n", "\\", "\\\n", "\\\r\n", "\\\r",
        "#", "!", "\\u0061", "\\u00", "41", "\\u", "\\uD83D\\uDE00", "\uD83D\uDE00", "\u00e9", "\\u00E9", "\\t", "\\n", "\\\\", "1",
        "\n", "\n  ", "=1\n", ":2\n", " 3\n", "\\ ", "\\=", "\\:", "\\#", "c", "d", "e", "f"};

    /* load() puts each pair; a key that is there already is what we refuse. */
    static class Once extends java.util.Properties {
        boolean twice;

        @Override
        public synchronized Object put(Object key, Object value) {
            twice |= containsKey(key);
            return super.put(key, value);
        }
    }

    static boolean isTaken(String text) throws Exception {
        Once once = new Once();
        try {
            once.load(new StringReader(text));
        } catch (IllegalArgumentException malformed) {
            return false;
        }
        return !once.twice;
    }

    public static void main(String[] args) throws Exception {
        Path cases = Path.of(args[0], "cases", "properties");
        Random random = new Random(Long.parseLong(args[2]));
        Files.createDirectories(cases);
        try (Writer expect = Files.newBufferedWriter(Path.of(args[0], "properties.expect"))) {
            for (int i = 0; i < Integer.parseInt(args[1]); i++) {
                StringBuilder text = new StringBuilder();
                for (int n = random.nextInt(24); n > 0; n--)
                    text.append(PIECES[random.nextInt(PIECES.length)]);
                Path file = cases.resolve("p" + i);
                Files.writeString(file, text);
                expect.write((isTaken(text.toString()) ? "yes" : "no") + "\tp" + i + "\t" + file + "\t\n");
            }
        }
    }
}
