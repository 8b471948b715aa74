import ca.uhn.hl7v2.DefaultHapiContext;
import ca.uhn.hl7v2.HapiContext;
import ca.uhn.hl7v2.app.Connection;
import ca.uhn.hl7v2.llp.ExtendedMinLowerLayerProtocol;
import ca.uhn.hl7v2.model.Message;
import ca.uhn.hl7v2.parser.CanonicalModelClassFactory;
import ca.uhn.hl7v2.util.Terser;
import ca.uhn.hl7v2.validation.impl.ValidationContextFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/** Sends files with HAPI's own client: HOST PORT plain|tls FILE...; prints MSA-1 and MSA-2 of each answer. */
public final class Driver {
    public static void main(String[] args) throws Exception {
        try (HapiContext context = new DefaultHapiContext()) {
            context.setModelClassFactory(new CanonicalModelClassFactory("2.5"));
            context.setLowerLayerProtocol(new ExtendedMinLowerLayerProtocol()); // writes in the charset of MSH-18
            context.setValidationContext(ValidationContextFactory.noValidation());
            boolean isTls = args[2].equals("tls");
            Connection connection = context.newClient(args[0], Integer.parseInt(args[1]), isTls);
            connection.getInitiator().setTimeoutMillis(20_000);
            for (int at = 3; at < args.length; at++) {
                Message message = context.getGenericParser().parse(Files.readString(Path.of(args[at]), StandardCharsets.UTF_8));
                Terser answer = new Terser(connection.getInitiator().sendAndReceive(message));
                System.out.println(answer.get("/.MSA-1") + " " + answer.get("/.MSA-2"));
            }
            connection.close();
        }
    }
}
