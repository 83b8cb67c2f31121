import java.util.*;
import java.util.stream.*;

/** Uses what small programs use, so that its classes are in the archive of shared classes. */
public class Warm {
    record Point(int x, int y) {}

    enum Colour { RED, GREEN }

    interface Shape { double area(); }

    public static void main(String[] arguments) throws Exception {
        List<Integer> numbers = new ArrayList<>(List.of(3, 1, 2));
        Collections.sort(numbers);
        Map<String, Integer> counts = new TreeMap<>();
        for (String word : "a b a".split(" ")) counts.merge(word, 1, Integer::sum);
        Shape square = () -> 4;
        System.out.println(numbers + " " + counts + new Point(1, 2) + Colour.RED + square.area());
        System.out.println(IntStream.range(0, 4).mapToObj(n -> "" + n).collect(Collectors.joining(",")));
        System.out.printf("%.2f %s %05d%n", 1.5, new StringBuilder("x").reverse(), 3);
        try (Scanner scanner = new Scanner("1 2")) {
            System.out.println(scanner.nextInt());
        }
        Thread thread = new Thread(() -> System.out.println(new ArrayDeque<>(Set.of(1)).peek()));
        thread.start();
        thread.join();
    }
}
