import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.rest.api.EncodingEnum;
import ca.uhn.fhir.rest.api.MethodOutcome;
import ca.uhn.fhir.rest.client.api.IGenericClient;
import ca.uhn.fhir.rest.client.interceptor.BearerTokenAuthInterceptor;
import ca.uhn.fhir.rest.server.exceptions.PreconditionFailedException;
import ca.uhn.fhir.rest.server.exceptions.ResourceGoneException;
import org.hl7.fhir.instance.model.api.IBaseBundle;
import org.hl7.fhir.r4.model.Bundle;
import org.hl7.fhir.r4.model.CapabilityStatement;
import org.hl7.fhir.r4.model.DateTimeType;
import org.hl7.fhir.r4.model.Observation;
import org.hl7.fhir.r4.model.Parameters;
import org.hl7.fhir.r4.model.Patient;
import org.hl7.fhir.r4.model.Quantity;
import org.hl7.fhir.r4.model.Reference;

/** What a FHIR client does all day, with HAPI's generic client: prints one line a step; fails on the first that is wrong. */
public final class Driver {
    public static void main(String[] args) {
        FhirContext context = FhirContext.forR4();
        context.getRestfulClientFactory().setSocketTimeout(30_000);
        IGenericClient client = context.newRestfulGenericClient(System.getenv("HDG_URL"));
        client.registerInterceptor(new BearerTokenAuthInterceptor(System.getenv("HDG_TOKEN")));
        client.setEncoding(EncodingEnum.JSON);

        CapabilityStatement statement = client.capabilities().ofType(CapabilityStatement.class).execute();
        check(statement.getFhirVersion().toCode().equals("4.0.1"), "version");
        System.out.println("capabilities");

        Patient patient = new Patient();
        patient.addName().setFamily("Hapi");
        patient.addIdentifier().setSystem("urn:hapi").setValue("1");
        MethodOutcome made = client.create().resource(patient).conditional()
            .where(Patient.IDENTIFIER.exactly().systemAndCode("urn:hapi", "1")).execute();
        check(Boolean.TRUE.equals(made.getCreated()), "created");
        String id = made.getId().getIdPart();
        MethodOutcome again = client.create().resource(patient).conditional()
            .where(Patient.IDENTIFIER.exactly().systemAndCode("urn:hapi", "1")).execute();
        check(again.getId().getIdPart().equals(id), "the same one again");
        System.out.println("conditional create");

        Bundle bundle = new Bundle().setType(Bundle.BundleType.TRANSACTION);
        for (int day = 1; day <= 3; day++) {
            Observation observation = new Observation();
            observation.setStatus(Observation.ObservationStatus.FINAL);
            observation.getCode().addCoding().setSystem("http://loinc.org").setCode("718-7");
            observation.setSubject(new Reference("Patient/" + id));
            observation.setEffective(new DateTimeType("2024-01-0" + day));
            observation.setValue(new Quantity(day));
            bundle.addEntry().setResource(observation).getRequest().setMethod(Bundle.HTTPVerb.POST).setUrl("Observation");
        }
        Bundle answer = client.transaction().withBundle(bundle).execute();
        check(answer.getEntry().stream().allMatch(entry -> entry.getResponse().getStatus().startsWith("201")), "transaction");
        System.out.println("transaction");

        Bundle page = client.search().forResource(Observation.class)
            .where(Observation.SUBJECT.hasChainedProperty(Patient.NAME.matches().value("hapi")))
            .include(Observation.INCLUDE_SUBJECT)
            .sort().descending(Observation.DATE).count(2).returnBundle(Bundle.class).execute();
        check(page.getTotal() == 3, "total");
        int matches = 0;
        while (true) {
            matches += (int) page.getEntry().stream()
                .filter(entry -> entry.getSearch().getMode() == Bundle.SearchEntryMode.MATCH).count();
            if (page.getLink(IBaseBundle.LINK_NEXT) == null) {
                break;
            }
            page = client.loadPage().next(page).execute();
        }
        check(matches == 3, "matches");
        System.out.println("search, pages");

        Patient read = client.read().resource(Patient.class).withId(id).execute();
        read.setActive(true);
        MethodOutcome updated = client.update().resource(read).execute();
        check(updated.getId().getVersionIdPart().equals("2"), "version 2");
        Patient first = client.vread(Patient.class, id, "1");
        check(!first.getActive(), "version 1");
        Bundle history = client.history().onInstance("Patient/" + id).returnBundle(Bundle.class).execute();
        check(history.getEntry().size() == 2, "history");
        Bundle types = client.history().onType(Patient.class).returnBundle(Bundle.class).execute();
        check(types.getEntry().size() >= 2, "type history");
        Bundle server = client.history().onServer().returnBundle(Bundle.class).execute();
        check(server.getEntry().size() >= 5, "system history");
        System.out.println("update, vread, history");

        MethodOutcome patched = client.patch()
            .withBody("[{\"op\":\"replace\",\"path\":\"/active\",\"value\":false}]").withId("Patient/" + id).execute();
        check(patched.getId().getVersionIdPart().equals("3"), "version 3");
        System.out.println("patch");

        Bundle everything = client.operation().onInstance("Patient/" + id).named("$everything")
            .withNoParameters(Parameters.class).useHttpGet().returnResourceType(Bundle.class).execute();
        check(everything.getTotal() == 4, "everything");
        System.out.println("operation");

        Observation one = (Observation) everything.getEntry().stream().map(Bundle.BundleEntryComponent::getResource)
            .filter(resource -> resource instanceof Observation).findFirst().orElseThrow();
        client.delete().resourceById("Observation", one.getIdElement().getIdPart()).execute();
        try {
            client.read().resource(Observation.class).withId(one.getIdElement().getIdPart()).execute();
            throw new IllegalStateException("it is still there");
        } catch (ResourceGoneException expected) {
            System.out.println("delete");
        }
        try {
            client.delete().resourceConditionalByType("Observation")
                .where(Observation.SUBJECT.hasId("Patient/" + id)).execute();
            throw new IllegalStateException("two were deleted at once");
        } catch (PreconditionFailedException expected) {
            System.out.println("conditional delete of several is refused");
        }
    }

    private static void check(boolean isTrue, String what) {
        if (!isTrue) {
            throw new IllegalStateException(what);
        }
    }
}
